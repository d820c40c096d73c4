/* Loads SavedModels as TensorFlow Serving does, side by side, and asks them.
 *
 *   serve ROUNDS folder... ASK number input kind sizes file output... ASK ...
 *
 * A folder that cannot be loaded gives a line "error <message>", and exit status 1. A question goes to the numbered
 * model: the tensor to feed, "float", "double", "int32" or "string", its sizes separated by commas ("-" for a scalar), a
 * file of its content (numbers as they are, strings one a line in hexadecimal), and the tensors to fetch. Each that is
 * fetched gives a line "<name> <sizes> <values>"; a question that is refused, one line "error <message>". With more
 * rounds than one, all questions are asked in turns, so often, and each gives lines "asked <question> <milliseconds>"
 * instead.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tensorflow/c/c_api.h>
#include <tensorflow/c/tf_tstring.h>

#define MOST 64
#define MOST_QUESTIONS 512

struct model {
  TF_Graph *graph;
  TF_Session *session;
};

struct question {
  struct model model;
  TF_Output input, outputs[MOST];
  const char *names[MOST];
  TF_Tensor *given;
  int wanted;
};

static TF_Status *status;
static struct question questions[MOST_QUESTIONS];

static int failed(void) {
  if (TF_GetCode(status) == TF_OK) return 0;
  printf("error ");
  for (const char *next = TF_Message(status); *next; ++next) putchar(*next == '\n' ? ' ' : *next);
  printf("\n");
  return 1;
}

static void check(void) {
  if (failed()) exit(1);
}

static double milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static struct model load(const char *folder) {
  const char *tags[] = {"serve"};
  struct model model = {TF_NewGraph(), NULL};
  TF_SessionOptions *options = TF_NewSessionOptions();
  double started = milliseconds();
  model.session = TF_LoadSessionFromSavedModel(options, NULL, folder, tags, 1, model.graph, NULL, status);
  TF_DeleteSessionOptions(options);
  check();
  printf("loaded %.3f\n", milliseconds() - started);
  return model;
}

static TF_Output find(struct model model, const char *name) {
  char operation[1024];
  const char *colon = strrchr(name, ':');
  snprintf(operation, sizeof operation, "%.*s", (int)(colon - name), name);
  TF_Output output = {TF_GraphOperationByName(model.graph, operation), atoi(colon + 1)};
  if (output.oper == NULL) {
    printf("error no operation %s\n", operation);
    exit(1);
  }
  return output;
}

static TF_DataType parse_type(const char *kind) {
  if (strcmp(kind, "float") == 0) return TF_FLOAT;
  if (strcmp(kind, "double") == 0) return TF_DOUBLE;
  if (strcmp(kind, "int32") == 0) return TF_INT32;
  return TF_STRING;
}

static TF_Tensor *read_tensor(const char *kind, char *sizes, const char *path) {
  int64_t dims[MOST], count = 1;
  int rank = 0;
  for (char *size = strtok(sizes, ",-"); size != NULL; size = strtok(NULL, ",")) count *= dims[rank++] = atoll(size);
  FILE *file = fopen(path, "rb");
  if (file == NULL) exit(3);
  TF_DataType type = parse_type(kind);
  size_t size = TF_DataTypeSize(type) ? TF_DataTypeSize(type) : sizeof(TF_TString);
  TF_Tensor *tensor = TF_AllocateTensor(type, dims, rank, count * size);
  if (type != TF_STRING) {
    if (fread(TF_TensorData(tensor), size, count, file) != (size_t)count) exit(3);
  } else {
    TF_TString *strings = TF_TensorData(tensor);
    char *line = NULL;
    size_t room = 0;
    for (int64_t i = 0; i < count; ++i) {
      ssize_t length = getline(&line, &room, file) / 2;
      for (ssize_t j = 0; j < length; ++j) {
        unsigned octet;
        sscanf(line + 2 * j, "%2x", &octet);
        line[j] = (char)octet;
      }
      TF_StringInit(&strings[i]);
      TF_StringCopy(&strings[i], line, length);
    }
    free(line);
  }
  fclose(file);
  return tensor;
}

static void print(const char *name, TF_Tensor *tensor) {
  int64_t count = 1;
  printf("%s ", name);
  for (int axis = 0; axis < TF_NumDims(tensor); ++axis) {
    printf("%s%lld", axis ? "," : "", (long long)TF_Dim(tensor, axis));
    count *= TF_Dim(tensor, axis);
  }
  for (int64_t i = 0; i < count; ++i) {
    void *data = TF_TensorData(tensor);
    if (TF_TensorType(tensor) == TF_FLOAT) printf(" %.9g", ((float *)data)[i]);
    if (TF_TensorType(tensor) == TF_DOUBLE) printf(" %.17g", ((double *)data)[i]);
    if (TF_TensorType(tensor) == TF_INT64) printf(" %lld", (long long)((int64_t *)data)[i]);
    if (TF_TensorType(tensor) == TF_BOOL) printf(" %d", ((unsigned char *)data)[i]);
    if (TF_TensorType(tensor) == TF_STRING) printf(" %s", TF_StringGetDataPointer(&((TF_TString *)data)[i]));
  }
  printf("\n");
}

int main(int count, char **words) {
  struct model models[MOST];
  int loaded = 0, word = 2;
  status = TF_NewStatus();
  for (; word < count && strcmp(words[word], "ASK") != 0; ++word) {
    if (loaded == MOST) exit(3);
    models[loaded++] = load(words[word]);
  }
  int asked = 0, rounds = atoi(words[1]);
  while (word < count) {
    if (asked == MOST_QUESTIONS) exit(3);
    struct question *question = &questions[asked++];
    question->model = models[atoi(words[word + 1])];
    question->input = find(question->model, words[word + 2]);
    question->given = read_tensor(words[word + 3], words[word + 4], words[word + 5]);
    for (word += 6; word < count && strcmp(words[word], "ASK") != 0; ++word) {
      question->names[question->wanted] = words[word];
      question->outputs[question->wanted++] = find(question->model, words[word]);
    }
  }
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < asked; ++i) {
      struct question *question = &questions[i];
      TF_Tensor *found[MOST];
      double started = milliseconds();
      TF_SessionRun(question->model.session, NULL, &question->input, &question->given, 1, question->outputs, found,
                    question->wanted, NULL, 0, NULL, status);
      double took = milliseconds() - started;
      if (failed()) continue;
      if (rounds > 1) printf("asked %d %.4f\n", i, took);
      for (int j = 0; j < question->wanted; ++j) {
        if (rounds == 1) print(question->names[j], found[j]);
        TF_DeleteTensor(found[j]);
      }
    }
  }
  return 0;
}

"""Which graphs are run: those of stated operations, all of which compute and do nothing else.

A SavedModel is a program. TensorFlow has operations that write files, open connections and call Python, and runs
whatever a graph names. So a graph is looked through before it is run: every operation of it, in every function, must
be in a list. What is not is refused, an operation of a later TensorFlow included.

That a graph is made of these is no proof that it is good: it may still answer with what it should keep to itself. A
graph that is run beside a key needs a signature as well.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterator
from typing import Any

from honeykeras.errors import ModelError

# All of TensorFlow 2.21's operations for arrays, numbers, neural networks, images, sound, strings and the parsing of
# them, control flow and calls of functions, resource variables, tables, lists, random numbers, sparse and ragged
# tensors, by the files in which TensorFlow declares them. Of these were left out: what reads a file (ImmutableConst,
# InitializeTableFromTextFile), writes one or a log (Print, summaries), ends the process (Abort), waits for others
# (queues, stages, barriers, mutexes, accumulators) or shares what is another's (sessions' tensors, maps of tensors);
# RemoteCall, SymbolicGradient and Timestamp; what debuggers use; and variables by reference, of TensorFlow 1. Nothing
# is listed of what talks to other processes, runs other code (Python, XLA modules) or reads data sets.
_BY_KIND = {
    "array": """
        BatchMatrixBandPart BatchMatrixDiag BatchMatrixDiagPart BatchMatrixSetDiag BatchToSpace BatchToSpaceND Bitcast
        BroadcastArgs BroadcastGradientArgs BroadcastTo CheckNumerics CheckNumericsV2 Concat ConcatOffset ConcatV2
        ConjugateTranspose Const DeepCopy DepthToSpace Dequantize Diag DiagPart EditDistance Empty EnsureShape
        ExpandDims ExtractImagePatches ExtractVolumePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient
        FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannel
        FakeQuantWithMinMaxVarsPerChannelGradient Fill Fingerprint Gather GatherNd GatherV2 GuaranteeConst Identity
        IdentityN InplaceAdd InplaceSub InplaceUpdate InvertPermutation ListDiff LowerBound MatrixBandPart MatrixDiag
        MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2
        MatrixSetDiagV3 MirrorPad MirrorPadGrad OneHot OnesLike Pack Pad PadV2 ParallelConcat Placeholder PlaceholderV2
        PlaceholderWithDefault PreventGradient QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3
        QuantizeAndDequantizeV4 QuantizeAndDequantizeV4Grad QuantizeV2 QuantizedConcat QuantizedInstanceNorm
        QuantizedReshape Rank Reshape ResourceStridedSliceAssign Reverse ReverseSequence ReverseV2 ScatterNd
        ScatterNdNonAliasingAdd Shape ShapeN Size Slice Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV
        Squeeze StopGradient StridedSlice StridedSliceAssign StridedSliceGrad TensorScatterAdd TensorScatterMax
        TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile TileGrad Transpose Unique
        UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike
    """,
    "audio": """
        AudioSpectrogram DecodeWav EncodeWav Mfcc
    """,
    "bitwise": """
        BitwiseAnd BitwiseOr BitwiseXor Invert LeftShift PopulationCount RightShift
    """,
    "control_flow": """
        ControlTrigger Enter Exit LoopCond Merge NextIteration NoOp Switch
    """,
    "count": """
        DenseCountSparseOutput RaggedCountSparseOutput SparseCountSparseOutput
    """,
    "ctc": """
        CTCBeamSearchDecoder CTCGreedyDecoder CTCLoss CTCLossV2
    """,
    "cudnn_rnn": """
        CudnnRNN CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3 CudnnRNNCanonicalToParams
        CudnnRNNCanonicalToParamsV2 CudnnRNNParamsSize CudnnRNNParamsToCanonical CudnnRNNParamsToCanonicalV2 CudnnRNNV2
        CudnnRNNV3
    """,
    "data_flow": """
        DynamicPartition DynamicStitch ParallelDynamicStitch Stack StackClose StackCloseV2 StackPop StackPopV2 StackPush
        StackPushV2 StackV2 TensorArray TensorArrayClose TensorArrayCloseV2 TensorArrayCloseV3 TensorArrayConcat
        TensorArrayConcatV2 TensorArrayConcatV3 TensorArrayGather TensorArrayGatherV2 TensorArrayGatherV3
        TensorArrayGrad TensorArrayGradV2 TensorArrayGradV3 TensorArrayGradWithShape TensorArrayPack TensorArrayRead
        TensorArrayReadV2 TensorArrayReadV3 TensorArrayScatter TensorArrayScatterV2 TensorArrayScatterV3 TensorArraySize
        TensorArraySizeV2 TensorArraySizeV3 TensorArraySplit TensorArraySplitV2 TensorArraySplitV3 TensorArrayUnpack
        TensorArrayV2 TensorArrayV3 TensorArrayWrite TensorArrayWriteV2 TensorArrayWriteV3
    """,
    "functional": """
        Case DeviceIndex FakeParam For If PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf
        StatelessWhile ToBool While
    """,
    "image": """
        AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize
        CropAndResizeGradBoxes CropAndResizeGradImage DecodeAndCropJpeg DecodeBmp DecodeGif DecodeImage DecodeJpeg
        DecodeJxl DecodePng DecodeWebP DrawBoundingBoxes DrawBoundingBoxesV2 EncodeJpeg EncodeJpegVariableQuality
        EncodePng ExtractGlimpse ExtractGlimpseV2 ExtractJpegShape GenerateBoundingBoxProposals HSVToRGB
        ImageProjectiveTransformV2 ImageProjectiveTransformV3 NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3
        NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps QuantizedResizeBilinear RGBToHSV
        RandomCrop ResizeArea ResizeBicubic ResizeBicubicGrad ResizeBilinear ResizeBilinearGrad ResizeNearestNeighbor
        ResizeNearestNeighborGrad SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 ScaleAndTranslate
        ScaleAndTranslateGrad StatelessSampleDistortedBoundingBox
    """,
    "linalg": """
        BandedTriangularSolve BatchCholesky BatchCholeskyGrad BatchMatrixDeterminant BatchMatrixInverse BatchMatrixSolve
        BatchMatrixSolveLs BatchMatrixTriangularSolve BatchSelfAdjointEig BatchSelfAdjointEigV2 BatchSvd Cholesky
        CholeskyGrad Eig Einsum LogMatrixDeterminant Lu MatrixDeterminant MatrixExponential MatrixInverse
        MatrixLogarithm MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve Qr SelfAdjointEig
        SelfAdjointEigV2 Svd TridiagonalMatMul TridiagonalSolve
    """,
    "list": """
        EmptyTensorList TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape
        TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
        TensorListPushBackBatch TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList
        TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
    """,
    "logging": """
        Assert
    """,
    "lookup": """
        AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable AnonymousMutableHashTableOfTensors
        HashTable HashTableV2 InitializeTable InitializeTableV2 LookupTableExport LookupTableExportV2 LookupTableFind
        LookupTableFindV2 LookupTableImport LookupTableImportV2 LookupTableInsert LookupTableInsertV2
        LookupTableRemoveV2 LookupTableSize LookupTableSizeV2 MutableDenseHashTable MutableDenseHashTableV2
        MutableHashTable MutableHashTableOfTensors MutableHashTableOfTensorsV2 MutableHashTableV2
    """,
    "manip": """
        Roll
    """,
    "map": """
        EmptyTensorMap TensorMapErase TensorMapHasKey TensorMapInsert TensorMapLookup TensorMapSize TensorMapStackKeys
    """,
    "math": """
        Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2
        Atanh BatchMatMul BatchMatMulV2 BatchMatMulV3 Betainc Bincount Bucketize Cast Ceil ClipByValue Complex
        ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp DenseBincount Digamma Div DivNoNan Equal Erf
        Erfc Erfinv EuclideanNorm Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual HistogramFixedWidth Igamma
        IgammaGradA Igammac Imag Inv InvGrad IsFinite IsInf IsNan Less LessEqual Lgamma LinSpace Log Log1p LogicalAnd
        LogicalNot LogicalOr MatMul Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual Polygamma
        Pow Prod QuantizeDownAndShrinkRange QuantizedAdd QuantizedMatMul QuantizedMul RaggedBincount Range Real RealDiv
        Reciprocal ReciprocalGrad RequantizationRange RequantizationRangePerChannel Requantize RequantizePerChannel Rint
        Round Rsqrt RsqrtGrad SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2
        SegmentSum SegmentSumV2 Select SelectV2 Sigmoid SigmoidGrad Sign Sin Sinh SobolSample SparseBincount
        SparseMatMul SparseSegmentMean SparseSegmentMeanGrad SparseSegmentMeanGradV2 SparseSegmentMeanWithNumSegments
        SparseSegmentSqrtN SparseSegmentSqrtNGrad SparseSegmentSqrtNGradV2 SparseSegmentSqrtNWithNumSegments
        SparseSegmentSum SparseSegmentSumGrad SparseSegmentSumGradV2 SparseSegmentSumWithNumSegments Sqrt SqrtGrad
        Square SquaredDifference Sub Sum Tan Tanh TanhGrad TruncateDiv TruncateMod UnsortedSegmentMax UnsortedSegmentMin
        UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
    """,
    "nn": """
        ApproxTopK AvgPool AvgPool3D AvgPool3DGrad AvgPoolGrad BatchNormWithGlobalNormalization
        BatchNormWithGlobalNormalizationGrad BiasAdd BiasAddGrad BiasAddV1 Conv Conv2D Conv2DBackpropFilter
        Conv2DBackpropFilterV2 Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropFilter
        Conv3DBackpropFilterV2 Conv3DBackpropInput Conv3DBackpropInputV2 DataFormatDimMap DataFormatVecPermute
        DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput Dilation2D
        Dilation2DBackpropFilter Dilation2DBackpropInput Elu EluGrad FractionalAvgPool FractionalAvgPoolGrad
        FractionalMaxPool FractionalMaxPoolGrad FusedBatchNorm FusedBatchNormGrad FusedBatchNormGradV2
        FusedBatchNormGradV3 FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D InTopK InTopKV2
        IsotonicRegression L2Loss LRN LRNGrad LeakyRelu LeakyReluGrad LogSoftmax MaxPool MaxPool3D MaxPool3DGrad
        MaxPool3DGradGrad MaxPoolGrad MaxPoolGradGrad MaxPoolGradGradV2 MaxPoolGradGradWithArgmax MaxPoolGradV2
        MaxPoolGradWithArgmax MaxPoolV2 MaxPoolWithArgmax NthElement QuantizedAvgPool
        QuantizedBatchNormWithGlobalNormalization QuantizedBiasAdd QuantizedConv2D QuantizedConv2DAndRelu
        QuantizedConv2DAndReluAndRequantize QuantizedConv2DAndRequantize QuantizedConv2DPerChannel
        QuantizedConv2DWithBias QuantizedConv2DWithBiasAndRelu QuantizedConv2DWithBiasAndReluAndRequantize
        QuantizedConv2DWithBiasAndRequantize QuantizedConv2DWithBiasSignedSumAndReluAndRequantize
        QuantizedConv2DWithBiasSumAndRelu QuantizedConv2DWithBiasSumAndReluAndRequantize QuantizedDepthwiseConv2D
        QuantizedDepthwiseConv2DWithBias QuantizedDepthwiseConv2DWithBiasAndRelu
        QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize QuantizedMatMulWithBias
        QuantizedMatMulWithBiasAndDequantize QuantizedMatMulWithBiasAndRelu QuantizedMatMulWithBiasAndReluAndRequantize
        QuantizedMatMulWithBiasAndRequantize QuantizedMaxPool QuantizedRelu QuantizedRelu6 QuantizedReluX Relu Relu6
        Relu6Grad ReluGrad Selu SeluGrad Softmax SoftmaxCrossEntropyWithLogits Softplus SoftplusGrad Softsign
        SoftsignGrad SparseSoftmaxCrossEntropyWithLogits TopK TopKV2
    """,
    "parsing": """
        DecodeCSV DecodeCompressed DecodeJSONExample DecodePaddedRaw DecodeRaw ParseExample ParseExampleV2
        ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample ParseSingleSequenceExample ParseTensor
        SerializeTensor StringToNumber
    """,
    "ragged_array": """
        RaggedCross RaggedFillEmptyRows RaggedFillEmptyRowsGrad RaggedGather
    """,
    "ragged_conversion": """
        RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant
        RaggedTensorToVariantGradient
    """,
    "ragged_math": """
        RaggedRange
    """,
    "random_index_shuffle": """
        RandomIndexShuffle
    """,
    "random": """
        Multinomial ParameterizedTruncatedNormal RandomGamma RandomGammaGrad RandomPoisson RandomPoissonV2 RandomShuffle
        RandomStandardNormal RandomUniform RandomUniformInt TruncatedNormal
    """,
    "resource_variable": """
        AssignAddVariableOp AssignSubVariableOp AssignVariableOp DestroyResourceOp DisableCopyOnRead ReadVariableOp
        ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterDiv ResourceScatterMax ResourceScatterMin
        ResourceScatterMul ResourceScatterSub ResourceScatterUpdate VarHandleOp VarIsInitializedOp VariableShape
    """,
    "rnn": """
        BlockLSTM BlockLSTMGrad BlockLSTMGradV2 BlockLSTMV2 GRUBlockCell GRUBlockCellGrad LSTMBlockCell
        LSTMBlockCellGrad
    """,
    "set": """
        DenseToDenseSetOperation DenseToSparseSetOperation SetSize SparseToSparseSetOperation
    """,
    "sparse": """
        DeserializeManySparse DeserializeSparse SerializeManySparse SerializeSparse SparseAdd SparseAddGrad SparseConcat
        SparseCross SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul
        SparseFillEmptyRows SparseFillEmptyRowsGrad SparseReduceMax SparseReduceMaxSparse SparseReduceSum
        SparseReduceSumSparse SparseReorder SparseReshape SparseSlice SparseSliceGrad SparseSoftmax SparseSparseMaximum
        SparseSparseMinimum SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul SparseToDense
    """,
    "special_math": """
        BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e BesselY0 BesselY1
        Dawsn Expint FresnelCos FresnelSin Spence
    """,
    "spectral": """
        BatchFFT BatchFFT2D BatchFFT3D BatchIFFT BatchIFFT2D BatchIFFT3D FFT FFT2D FFT3D FFTND IFFT IFFT2D IFFT3D IFFTND
        IRFFT IRFFT2D IRFFT3D IRFFTND RFFT RFFT2D RFFT3D RFFTND
    """,
    "state": """
        ResourceCountUpTo ResourceScatterNdAdd ResourceScatterNdMax ResourceScatterNdMin ResourceScatterNdSub
        ResourceScatterNdUpdate
    """,
    "stateful_random": """
        NonDeterministicInts RngReadAndSkip RngSkip StatefulRandomBinomial StatefulStandardNormal
        StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform StatefulUniformFullInt StatefulUniformInt
    """,
    "stateless_random": """
        StatelessMultinomial StatelessParameterizedTruncatedNormal StatelessRandomBinomial StatelessRandomGammaV2
        StatelessRandomNormal StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
        StatelessRandomUniformInt StatelessTruncatedNormal
    """,
    "stateless_random_v2": """
        StatelessRandomGammaV3 StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
        StatelessRandomNormalV2 StatelessRandomUniformFullIntV2 StatelessRandomUniformIntV2 StatelessRandomUniformV2
        StatelessShuffle StatelessTruncatedNormalV2
    """,
    "string": """
        AsString DecodeBase64 EncodeBase64 ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch
        StaticRegexReplace StringFormat StringJoin StringLength StringLower StringNGrams StringSplit StringSplitV2
        StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringUpper Substr UnicodeDecode
        UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode UnsortedSegmentJoin
    """,
    "uniform_quant": """
        UniformDequantize UniformQuantize UniformQuantizedAdd UniformQuantizedClipByValue UniformQuantizedConvolution
        UniformQuantizedConvolutionHybrid UniformQuantizedDot UniformQuantizedDotHybrid UniformRequantize
    """,
}
COMPUTING = frozenset(name for names in _BY_KIND.values() for name in names.split())
"""Operations that compute."""

# What the saver has besides. It is never run by us: TensorFlow's loader in Python reads the variables itself.
_SAVES = frozenset({"SaveV2", "MergeV2Checkpoints"})
_RESTORES = frozenset({"RestoreV2"})
_SAVER = _SAVES | _RESTORES | {"ShardedFilename"}
# By other attributes, TensorFlow may put a function in another's place.
_SAVER_ATTRIBUTES = frozenset({"_input_shapes", "_construction_context"})

_FILES = ("ReadFile", "MatchingFiles")

Place = tuple[str, str]
"""Where an operation is: the names of its function and of its node."""


def check(described: Any, reads: Collection[Place] = ()) -> int:
    """Looks through the graph of a SavedModel.

    Args:
        described: The SavedModel's `MetaGraphDef`.
        reads: Operations that may read files, each in its place.

    Returns:
        How many operations there are.

    Raises:
        ModelError: If there is any that is not listed, or that could be run as another than it seems.
    """
    if not described.HasField("object_graph_def"):
        raise _refused("that TensorFlow 2 wrote", "one of TensorFlow 1's. Export the model again")
    library = {function.signature.name: function for function in described.graph_def.library.function}
    for names in (
        [function.signature.name for function in described.graph_def.library.function],
        *([node.name for node in function.node_def] for function in library.values()),
        [node.name for node in described.graph_def.node],
    ):
        twice = [name for name, count in collections.Counter(names).items() if count > 1]
        if twice:
            raise _refused("in which each name means one thing", f"{twice[0]!r} twice")
    for name in library.keys() & COMPUTING:
        raise _refused("in which each name means one thing", f"a function called {name!r}, as an operation is")
    savers = {name for name, function in library.items() if _SAVER.intersection(node.op for node in function.node_def)}
    count = 0
    for function, node in _nodes(described):
        listed = node.op in COMPUTING or (function in savers and node.op in _SAVER)
        if not listed and (function, node.name) not in reads:
            raise _not_listed(node.op)
        count += 1
    _check_references(described, library)
    for name in savers:
        _check_saver(described, library[name])
    return count


def references(described: Any) -> Iterator[tuple[str, str, str]]:
    """Where functions are named: triples of a function, a node and the name; the former two are empty elsewhere."""
    for function, node in _nodes(described):
        for name in _named(node.attr):
            yield function, node.name, name
    library, objects = described.graph_def.library, described.object_graph_def
    for gradient in library.gradient:
        yield "", "", gradient.function_name
        yield "", "", gradient.gradient_func
    for gradient in library.registered_gradients:
        yield "", "", gradient.gradient_func
    for name in objects.concrete_functions:
        yield "", "", name
    for node in objects.nodes:
        for name in node.function.concrete_functions:
            yield "", "", name
        if node.bare_concrete_function.concrete_function_name:
            yield "", "", node.bare_concrete_function.concrete_function_name


def _nodes(described: Any) -> Iterator[tuple[str, Any]]:
    """All operations, each with the name of its function, which is empty for those in none."""
    for node in described.graph_def.node:
        yield "", node
    for function in described.graph_def.library.function:
        for node in function.node_def:
            yield function.signature.name, node


def _named(attributes: Any) -> Iterator[str]:
    """The functions that attributes name, by attributes of their own too."""
    unread = [attributes]
    while unread:
        for value in unread.pop().values():
            for function in [value.func] if value.HasField("func") else value.list.func:
                yield function.name
                unread.append(function.attr)


def _check_references(described: Any, library: Collection[str]) -> None:
    for _, _, name in references(described):
        # TensorFlow would look for an operation of that name.
        if name not in library:
            raise _refused("that has all its functions", f"the name of another, {name!r}")


def _check_saver(described: Any, function: Any) -> None:
    """What saves or restores variables must be reached by TensorFlow's own saving and loading alone.

    Anything else could have it write or read whatever file it likes: an object, say, whose initializer it is called.
    """
    name, saver = function.signature.name, described.saver_def
    kinds = {node.op for node in function.node_def} & (_SAVES | _RESTORES)
    owner = saver.save_tensor_name.partition(":")[0] if kinds <= _SAVES else saver.restore_op_name
    calls = [(place, node) for place, node, named in references(described) if named == name]
    if (
        (kinds & _SAVES and kinds & _RESTORES)
        or set(function.attr) - _SAVER_ATTRIBUTES
        or calls not in ([], [("", owner)])
    ):
        raise _not_listed(min(kinds or _SAVER), ", where TensorFlow's saver does not have it")
    file_name = [argument.name for argument in function.signature.input_arg[:1]]
    for node in function.node_def:
        if node.op in _RESTORES and list(node.input[:1]) != file_name:
            raise _not_listed(node.op, " of another file than the variables'")
    nodes = {node.name: node for node in described.graph_def.node}
    for _, call in calls:
        given = nodes.get(_node_of(nodes[call].input[0])) if nodes[call].input else None
        used = [node.name for node in nodes.values() if any(_node_of(each) == call for each in node.input)]
        named = {_node_of(tensor.name) for each in described.signature_def.values() for tensor in each.outputs.values()}
        named |= {_node_of(value) for each in described.collection_def.values() for value in each.node_list.value}
        is_given = (
            given is not None and given.name == _node_of(saver.filename_tensor_name) and given.op == "Placeholder"
        )
        if used or call in named or not is_given:
            raise _not_listed(min(kinds), ", where TensorFlow's saver does not have it")


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _not_listed(operation: str, where: str = "") -> ModelError:
    if operation in _FILES and not where:
        return _refused(
            "of operations that compute",
            f"{operation}, as in an artifact that needs a key. Such a one is for honeykeras.export.load, or, on the "
            "command line, for --public-key and --sealing-key",
        )
    return _refused("of operations that compute, and that honeykeras.trusted_operations lists", f"{operation}{where}")


def _refused(kind: str, received: str) -> ModelError:
    return ModelError(f"A SavedModel must be a graph {kind}: a graph is a program. Received: {received}.")

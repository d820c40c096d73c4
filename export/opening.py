"""Opening sealed bytes in a graph of stock TensorFlow operations: ChaCha20-Poly1305 (RFC 8439).

Stock TensorFlow Serving runs no Python and no operation of ours, so what `sealing.seal` closed is opened by the graph
that was exported. All of it runs on the CPU: accelerators have no kernels for such integers. Loading takes as long as
the graph has nodes, so that loops stand where they could be unrolled.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from honeykeras.export.sealing import HEADER_BYTES, ID_BYTES, KEY_BYTES, NONCE_BYTES, TAG_BYTES

_LIMB_BITS = 26
_LIMB_MASK = 2**_LIMB_BITS - 1
_WORD_BITS = 32
_WORD_MASK = 2**_WORD_BITS - 1
# "expand 32-byte k" (RFC 8439, section 2.3).
_CHACHA_CONSTANTS = np.frombuffer(b"expand 32-byte k", "<u4")
# What section 2.5 clears of the multiplier.
_CLAMP = np.array([0x0FFFFFFF, 0x0FFFFFFC, 0x0FFFFFFC, 0x0FFFFFFC], np.int64)
# Where limb i of a product modulo 2^130 - 5 takes each limb of the multiplier from: what stands 130 bits higher
# counts five times.
_PRODUCT_INDICES = np.array([[to - of if to >= of else 10 + to - of for to in range(5)] for of in range(5)])


def open_sealed(sealed: tf.Tensor, key: tf.Tensor, artifact_id: bytes) -> tuple[tf.Tensor, tf.Tensor]:
    """Opens what `sealing.seal` closed.

    Args:
        sealed: All of it, shape `(size + OVERHEAD_BYTES,)`, uint8, of known size.
        key: The key, shape `(32,)`, uint8.
        artifact_id: Of the artifact that it must have been sealed for.

    Returns:
        The bytes, shape `(size,)`, uint8, and whether they are authentic, a scalar bool. Bytes that are not
        must not be used.
    """
    nonce_end = HEADER_BYTES + NONCE_BYTES
    expected_id = tf.constant(np.frombuffer(artifact_id, np.uint8))
    return decrypt(
        key,
        nonce=sealed[HEADER_BYTES:nonce_end],
        ciphertext=sealed[nonce_end:-TAG_BYTES],
        tag=sealed[-TAG_BYTES:],
        associated=tf.concat([sealed[: HEADER_BYTES - ID_BYTES], expected_id], axis=0),
    )


def decrypt(
    key: tf.Tensor, nonce: tf.Tensor, ciphertext: tf.Tensor, tag: tf.Tensor, associated: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decrypts and authenticates (RFC 8439, section 2.8).

    Args:
        key: Shape `(32,)`; this and all others uint8, of known size.
        nonce: Shape `(12,)`.
        ciphertext: Shape `(size,)`.
        tag: Shape `(16,)`.
        associated: What is authenticated besides.

    Returns:
        The plain bytes, shape `(size,)`, and whether the tag is right, a scalar bool.
    """
    size = ciphertext.shape[0]
    stream = keystream(key, nonce, 1 - (-size // 64))
    plain = tf.bitwise.bitwise_xor(_words(_pad(ciphertext, 64)), tf.reshape(stream[1:], [-1]))
    lengths = np.array([associated.shape[0], size], "<u8").tobytes()
    message = [_pad(associated, 16), _pad(ciphertext, 16), tf.constant(np.frombuffer(lengths, np.uint8))]
    right = poly1305(_words(tf.concat(message, axis=0)), stream[0, :8])
    authentic = tf.reduce_all(tf.equal(right, tf.cast(_words(tag), tf.int64)))
    return tf.reshape(tf.bitcast(plain, tf.uint8), [-1])[:size], authentic


def parse_key(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What a key file says.

    Args:
        content: What stands in it, a scalar string: 64 hexadecimal digits, white space ignored, or 32 bytes.

    Returns:
        The key, shape `(32,)`, uint8, and whether there is one, a scalar bool.
    """
    text = tf.strings.regex_replace(content, r"\s", "")
    is_hex = tf.strings.regex_full_match(text, f"[0-9a-fA-F]{{{2 * KEY_BYTES}}}")
    raw = tf.io.decode_raw(tf.where(is_hex, text, content), tf.uint8, fixed_length=2 * KEY_BYTES)
    # Of '0' to '9' the low four bits are the digit; of letters, nine less.
    digits = tf.cast(raw, tf.int32)
    digits = tf.reshape(digits % 16 + 9 * (digits // 64), [KEY_BYTES, 2])
    decoded = tf.cast(tf.reduce_sum(digits * [16, 1], axis=1), tf.uint8)
    key = tf.where(is_hex, decoded, raw[:KEY_BYTES])
    return key, is_hex | tf.equal(tf.strings.length(content), KEY_BYTES)


def keystream(key: tf.Tensor, nonce: tf.Tensor, count: int) -> tf.Tensor:
    """The key stream of ChaCha20 from counter 0 on (sections 2.1 to 2.4), shape `(count, 16)`, uint32.

    Args:
        key: Shape `(32,)`, uint8.
        nonce: Shape `(12,)`, uint8.
        count: How many blocks of sixteen words.
    """
    constants = tf.constant(np.repeat(_CHACHA_CONSTANTS[:, None], count, axis=1), tf.uint32)
    counters = tf.constant(np.arange(count)[None], tf.uint32)
    key_words, nonce_words = (tf.repeat(_words(octets)[:, None], count, axis=1) for octets in (key, nonce))
    start = tf.reshape(tf.concat([constants, key_words, counters, nonce_words], axis=0), [4, 4, count])

    def round_(step: tf.Tensor, a: tf.Tensor, b: tf.Tensor, c: tf.Tensor, d: tf.Tensor) -> tuple[tf.Tensor, ...]:
        for first, second in ((16, 12), (8, 7)):
            a = a + b
            d = _rotate(tf.bitwise.bitwise_xor(d, a), first)
            c = c + d
            b = _rotate(tf.bitwise.bitwise_xor(b, c), second)
        # Rounds on columns and on diagonals take turns; in between, diagonals become columns, and again.
        left = 1 + 2 * (step % 2)
        return step + 1, a, tf.roll(b, -left, 0), tf.roll(c, 2, 0), tf.roll(d, left, 0)

    rows = tf.while_loop(
        lambda step, *_: step < 20, round_, [tf.constant(0), *tf.unstack(start)], parallel_iterations=1
    )[1:]
    return tf.transpose(tf.reshape(tf.stack(rows) + start, [16, count]))


def poly1305(words: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """The tag of a message of whole blocks (section 2.5), four 32-bit words, shape `(4,)`, int64.

    It is the value of a polynomial in one half of the key. Neighbours are combined in pairs, then pairs of pairs, all
    of a level at once.

    Args:
        words: The message, shape `(4 * blocks,)`, uint32.
        key: The one-time key, shape `(8,)`, uint32.
    """
    count, words, key = words.shape[0] // 4, tf.cast(words, tf.int64), tf.cast(key, tf.int64)
    # The last coefficient is zero: the polynomial has no constant term. Zeros before the first change nothing.
    levels = count.bit_length()
    limbs = tf.pad(_limbs(tf.reshape(words, [count, 4]), last_bit=1), [[2**levels - count - 1, 1], [0, 0]])
    multiplier = _limbs(tf.bitwise.bitwise_and(key[None, :4], _CLAMP), last_bit=0)[0]

    def combine(pairs: tf.Tensor, power: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pairs = tf.reshape(pairs, [-1, 2, 5])
        factors = tf.concat([pairs[:, 0], power[None]], axis=0)
        products = tf.matmul(factors, tf.gather(tf.concat([power, 5 * power], axis=0), _PRODUCT_INDICES))
        sums = products + tf.pad(pairs[:, 1], [[0, 1], [0, 0]])
        # Products are below 2^59, so that two passes bring limbs below 2^27.
        reduced = _carry(_carry(sums))
        return reduced[:-1], reduced[-1]

    total, _ = tf.while_loop(
        lambda pairs, _: tf.shape(pairs)[0] > 1,
        combine,
        [limbs, multiplier],
        shape_invariants=[tf.TensorShape([None, 5]), tf.TensorShape([5])],
        parallel_iterations=1,
    )
    # What is left is below twice 2^130 - 5. Adding 5 carries beyond 2^130 if there is that much or more, and then
    # leaves what remains.
    remainders, overflow = _ripple(tf.concat([total, total + np.array([5, 0, 0, 0, 0])], axis=0), _LIMB_BITS)
    rest = remainders[tf.cast(overflow[1], tf.int32)]
    low = tf.bitwise.right_shift(rest[:4], tf.constant([0, 6, 12, 18], tf.int64))
    high = tf.bitwise.left_shift(rest[1:], tf.constant([26, 20, 14, 8], tf.int64))
    accumulated = tf.bitwise.bitwise_and(tf.bitwise.bitwise_or(low, high), _WORD_MASK)
    tag, _ = _ripple((accumulated + key[4:])[None], _WORD_BITS)
    return tag[0]


def _words(octets: tf.Tensor) -> tf.Tensor:
    """Each four bytes as a number, least byte first."""
    return tf.bitcast(tf.reshape(octets, [-1, 4]), tf.uint32)


def _pad(octets: tf.Tensor, multiple: int) -> tf.Tensor:
    missing = -octets.shape[0] % multiple
    return tf.pad(octets, [[0, missing]]) if missing else octets


def _rotate(x: tf.Tensor, bits: int) -> tf.Tensor:
    left = tf.bitwise.left_shift(x, tf.constant(bits, tf.uint32))
    return tf.bitwise.bitwise_or(left, tf.bitwise.right_shift(x, tf.constant(_WORD_BITS - bits, tf.uint32)))


def _limbs(words: tf.Tensor, last_bit: int) -> tf.Tensor:
    """Four 32-bit words as five limbs of 26 bits, shape `(count, 5)`, int64.

    Args:
        words: Shape `(count, 4)`, int64.
        last_bit: What stands above their 128 bits: 1 for a block of a message.
    """
    before = tf.bitwise.right_shift(tf.pad(words, [[0, 0], [1, 0]]), tf.constant([0, 26, 20, 14, 8], tf.int64))
    after = tf.pad(words, [[0, 0], [0, 1]], constant_values=last_bit)
    after = tf.bitwise.left_shift(after, tf.constant([0, 6, 12, 18, 24], tf.int64))
    return tf.bitwise.bitwise_and(tf.bitwise.bitwise_or(before, after), _LIMB_MASK)


def _carry(limbs: tf.Tensor) -> tf.Tensor:
    """Takes to each next limb what a limb has beyond its 26 bits, once; beyond the last, 2^130 is 5."""
    carried = tf.roll(tf.bitwise.right_shift(limbs, tf.constant(_LIMB_BITS, tf.int64)), 1, 1)
    return tf.bitwise.bitwise_and(limbs, _LIMB_MASK) + carried * [5, 1, 1, 1, 1]


def _ripple(digits: tf.Tensor, bits: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes all carries from the first digit to the last, one after the other.

    Args:
        digits: Shape `(batch, digits)`, int64, least first.
        bits: How many bits a digit has.

    Returns:
        The digits, none with more bits, and what was carried beyond the last, shape `(batch,)`.
    """
    carried, sums = tf.zeros_like(digits[:, 0]), []
    for digit in tf.unstack(digits, axis=1):
        sums.append(digit + carried)
        carried = tf.bitwise.right_shift(sums[-1], tf.constant(bits, tf.int64))
    return tf.bitwise.bitwise_and(tf.stack(sums, axis=1), 2**bits - 1), carried

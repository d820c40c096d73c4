"""Opening sealed bytes in a graph of stock TensorFlow operations: ChaCha20-Poly1305 (RFC 8439).

Stock TensorFlow Serving runs no Python and no operation of ours, so what `sealing.seal` closed is opened by the graph
that was exported. All of it runs on the CPU: accelerators have no kernels for such integers. Loading takes as long as
the graph has nodes, so that loops stand where they could be unrolled.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from honeykeras.export.sealing import HEADER_BYTES, ID_BYTES, KEY_BYTES, NONCE_BYTES, OVERHEAD_BYTES, TAG_BYTES

_LIMB_BITS = 26
_LIMB_MASK = 2**_LIMB_BITS - 1
_WORD_BITS = 32
# "expand 32-byte k" (RFC 8439, section 2.3).
_CHACHA_CONSTANTS = np.frombuffer(b"expand 32-byte k", np.uint8)
# What section 2.5 clears of the multiplier, the first half of the one-time key.
_CLAMP = np.array([0x0FFFFFFF, 0x0FFFFFFC, 0x0FFFFFFC, 0x0FFFFFFC, *[0xFFFFFFFF] * 4], np.uint32)
# Where limb i of a product modulo 2^130 - 5 takes each limb of the multiplier from: what stands 130 bits higher
# counts five times.
_PRODUCT_INDICES = np.array([[to - of if to >= of else 10 + to - of for to in range(5)] for of in range(5)])
_FIVE = np.array([[5, 0, 0, 0, 0]])
# What makes five limbs three digits, each of two limbs.
_LIMB_PAIRS = np.array([[1, 0, 0], [2**_LIMB_BITS, 0, 0], [0, 1, 0], [0, 2**_LIMB_BITS, 0], [0, 0, 1]])
# The value of each hexadecimal digit, by its ASCII code.
_HEX_VALUES = np.zeros(256, np.int32)
_HEX_VALUES[[ord(digit) for digit in "0123456789abcdefABCDEF"]] = [*range(16), *range(10, 16)]


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
    sizes = [HEADER_BYTES, NONCE_BYTES, sealed.shape[0] - OVERHEAD_BYTES, TAG_BYTES]
    header, nonce, ciphertext, tag = tf.split(sealed, sizes)
    plain, authentic = decrypt(key, nonce, ciphertext, tag, header)
    is_this = tf.equal(header[-ID_BYTES:], np.frombuffer(artifact_id, np.uint8))
    return plain, authentic & tf.reduce_all(is_this)


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
    blocks = -(-size // 64)
    # The first block is for the tag, and the second half of it for nothing.
    one_time_key, _, stream = tf.split(keystream(key, nonce, 1 + blocks), [8, 8, 16 * blocks])
    plain = tf.bitwise.bitwise_xor(_words(_pad(ciphertext, 64)), stream)
    lengths = np.array([associated.shape[0], size], "<u8").tobytes()
    message = [_pad(associated, 16), _pad(ciphertext, 16), tf.constant(np.frombuffer(lengths, np.uint8))]
    authentic = has_tag(_words(tf.concat(message, axis=0)), one_time_key, _words(tag))
    octets = tf.reshape(tf.bitcast(plain, tf.uint8), [-1])
    return octets if size % 64 == 0 else octets[:size], authentic


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
    digits = tf.reshape(tf.gather(_HEX_VALUES, tf.cast(raw, tf.int32)), [KEY_BYTES, 2])
    decoded = tf.cast(tf.reduce_sum(digits * [16, 1], axis=1), tf.uint8)
    as_bytes, _ = tf.split(raw, 2)
    key = tf.where(is_hex, decoded, as_bytes)
    return key, is_hex | tf.equal(tf.strings.length(content), KEY_BYTES)


def keystream(key: tf.Tensor, nonce: tf.Tensor, count: int) -> tf.Tensor:
    """The key stream of ChaCha20 from counter 0 on (sections 2.1 to 2.4), shape `(16 * count,)`, uint32.

    Args:
        key: Shape `(32,)`, uint8.
        nonce: Shape `(12,)`, uint8.
        count: How many blocks of sixteen words.
    """
    octets = tf.concat([_CHACHA_CONSTANTS, key, np.zeros(4, np.uint8), nonce], axis=0)
    counters = tf.pad(tf.cast(tf.range(count)[None], tf.uint32), [[12, 3], [0, 0]])
    start = tf.reshape(tf.reshape(_words(octets), [16, 1]) + counters, [4, 4, count])

    def round_(odd: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        a, b, c, d = tf.unstack(rows)
        for first, second in ((16, 12), (8, 7)):
            a = a + b
            d = _rotate(tf.bitwise.bitwise_xor(d, a), first)
            c = c + d
            b = _rotate(tf.bitwise.bitwise_xor(b, c), second)
        # Rounds on columns and on diagonals take turns; in between, diagonals become columns, and again. A roll of four
        # places by 1, 3, 5, 7, ... is one by 1 and 3 in turns.
        axis = tf.constant(0)
        return odd + 2, tf.stack([a, tf.roll(b, -odd, axis), tf.roll(c, 2, axis), tf.roll(d, odd, axis)])

    _, rows = tf.while_loop(lambda odd, _: odd < 40, round_, [tf.constant(1), start], parallel_iterations=1)
    # As signed numbers: oneDNN logs an error where it cannot transpose unsigned ones itself.
    blocks = tf.transpose(tf.reshape(tf.bitcast(rows + start, tf.int32), [16, count]))
    return tf.bitcast(tf.reshape(blocks, [-1]), tf.uint32)


def has_tag(words: tf.Tensor, key: tf.Tensor, tag: tf.Tensor) -> tf.Tensor:
    """Whether a message of whole blocks has a tag by Poly1305 (section 2.5), a scalar bool.

    The tag is the value of a polynomial in one half of the key, plus the other half. Of the polynomial, neighbours are
    combined in pairs, then pairs of pairs, all of a level at once.

    Args:
        words: The message, shape `(4 * blocks,)`; this and all others uint32.
        key: The one-time key, shape `(8,)`.
        tag: Shape `(4,)`.
    """
    count = words.shape[0] // 4
    rows = tf.concat([tf.bitwise.bitwise_and(key, _CLAMP), tag, words], axis=0)
    limbs = _limbs(tf.reshape(tf.cast(rows, tf.int64), [3 + count, 4]))
    power, addend, expected, blocks = tf.split(limbs, [1, 1, 1, count])
    # A block has one more bit above its 128. The last coefficient is zero: the polynomial has no constant term. Zeros
    # before the first change nothing.
    missing = 2 ** count.bit_length() - count - 1
    coefficients = tf.pad(blocks + np.array([0, 0, 0, 0, 2**24]), [[missing, 1], [0, 0]])

    def combine(state: tf.Tensor) -> list[tf.Tensor]:
        power, rest = tf.split(state, [1, -1])
        firsts, seconds = tf.unstack(tf.reshape(rest, [-1, 2, 5]), axis=1)
        # The power is squared along with the rest.
        multiples = tf.gather(tf.reshape(power * np.array([[1], [5]]), [10]), _PRODUCT_INDICES)
        sums = tf.matmul(tf.concat([power, firsts], axis=0), multiples) + tf.pad(seconds, [[1, 0], [0, 0]])
        # Products are below 2^59, so that two passes bring limbs below 2^27.
        return [_carry(sums, passes=2)]

    (state,) = tf.while_loop(
        lambda state: tf.size(state) > 2 * 5,
        combine,
        [tf.concat([power, coefficients], axis=0)],
        shape_invariants=[tf.TensorShape([None, 5])],
        parallel_iterations=1,
    )
    _, total = tf.split(state, [1, 1])
    # What is left is below twice 2^130 - 5. If adding 5 carries beyond 2^130 there is that much or more, and the 5 must
    # stay. What then differs from the tag must be a multiple of 2^128.
    difference = total + addend - expected
    sums = tf.concat([total + _FIVE, difference, difference + _FIVE], axis=0)
    low, middle, high = tf.unstack(tf.matmul(sums, _LIMB_PAIRS), axis=1)
    pair_bits = tf.constant(2 * _LIMB_BITS, tf.int64)
    middle += tf.bitwise.right_shift(low, pair_bits)
    high += tf.bitwise.right_shift(middle, pair_bits)
    overflow, _, _ = tf.unstack(tf.bitwise.right_shift(high, tf.constant(_LIMB_BITS, tf.int64)))
    below_128_bits = tf.bitwise.bitwise_and(tf.stack([low, middle, high]), [[2**52 - 1], [2**52 - 1], [2**24 - 1]])
    _, without_five, with_five = tf.unstack(tf.reduce_all(tf.equal(below_128_bits, 0), axis=0))
    return tf.where(tf.equal(overflow, 0), without_five, with_five)


def _words(octets: tf.Tensor) -> tf.Tensor:
    """Each four bytes as a number, least byte first."""
    return tf.bitcast(tf.reshape(octets, [-1, 4]), tf.uint32)


def _pad(octets: tf.Tensor, multiple: int) -> tf.Tensor:
    missing = -octets.shape[0] % multiple
    return tf.pad(octets, [[0, missing]]) if missing else octets


def _rotate(x: tf.Tensor, bits: int) -> tf.Tensor:
    left = tf.bitwise.left_shift(x, tf.constant(bits, tf.uint32))
    return tf.bitwise.bitwise_or(left, tf.bitwise.right_shift(x, tf.constant(_WORD_BITS - bits, tf.uint32)))


def _limbs(words: tf.Tensor) -> tf.Tensor:
    """Four 32-bit words as five limbs of 26 bits, shape `(count, 5)`, int64.

    Args:
        words: Shape `(count, 4)`, int64.
    """
    before = tf.bitwise.right_shift(tf.pad(words, [[0, 0], [1, 0]]), tf.constant([0, 26, 20, 14, 8], tf.int64))
    after = tf.bitwise.left_shift(tf.pad(words, [[0, 0], [0, 1]]), tf.constant([0, 6, 12, 18, 24], tf.int64))
    return tf.bitwise.bitwise_and(tf.bitwise.bitwise_or(before, after), _LIMB_MASK)


def _carry(limbs: tf.Tensor, passes: int) -> tf.Tensor:
    """Takes to each next limb what a limb has beyond its 26 bits; beyond the last, 2^130 is 5."""
    bits, mask, place = tf.constant(_LIMB_BITS, tf.int64), tf.constant(_LIMB_MASK, tf.int64), tf.constant(1)
    factors = tf.constant([5, 1, 1, 1, 1], tf.int64)
    for _ in range(passes):
        carried = tf.roll(tf.bitwise.right_shift(limbs, bits), place, place)
        limbs = tf.bitwise.bitwise_and(limbs, mask) + carried * factors
    return limbs

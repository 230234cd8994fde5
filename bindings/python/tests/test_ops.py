"""Each operator against NumPy, through the installed package. Run: python -m unittest discover."""

import unittest

import ml_dtypes
import numpy as np

from quire_llm import _ops, ops

RANDOM = np.random.default_rng(7)
HALF = {"float16": 2e-3, "float32": 2e-5}


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def attend(query, key, value, scale, first_position):
    """Causal attention of one sequence: [T, Hq, D] over [S, Hkv, D], in double."""
    group = query.shape[1] // key.shape[1]
    key, value = (np.repeat(x.astype(np.float64), group, axis=1) for x in (key, value))
    scores = np.einsum("thd,shd->hts", query.astype(np.float64), key) * scale
    positions = first_position + np.arange(query.shape[0])
    visible = np.arange(key.shape[0])[None, :] <= positions[:, None]
    scores = np.where(visible[None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hts,shd->thd", weights / weights.sum(-1, keepdims=True), value)


def paged(rows, page_table, page_size, num_pages):
    """Rows [S, Hkv, D] of one sequence in its pages, the rest NaN: [num_pages, Hkv, P, D]."""
    pages = np.full((num_pages, rows.shape[1], page_size, rows.shape[2]), np.nan, np.float32)
    for t, row in enumerate(rows):
        pages[page_table[t // page_size], :, t % page_size] = row
    return pages


class Package(unittest.TestCase):
    def test_every_operator_is_a_function_with_a_docstring(self):
        for name in _ops.operators():
            self.assertGreater(len(getattr(ops, name).__doc__), 40, name)
            self.assertEqual(ops.implementations(name)[-1], "reference", name)

    def test_errors_are_those_of_python(self):
        x, weight = normal(2, 8), normal(8)
        with self.assertRaisesRegex(ValueError, r"weight is f32 \[4\]"):
            ops.rms_norm(x, weight[:4])
        with self.assertRaisesRegex(LookupError, "no implementation is named 'fastest'"):
            ops.rms_norm(x, weight, implementation="fastest")
        with self.assertRaisesRegex(TypeError, "x is not an array"):
            ops.rms_norm("text", weight)
        with self.assertRaises(TypeError):
            ops.rms_norm(x.astype(np.complex64), weight)
        with self.assertRaisesRegex(LookupError, "no operator is called nothing"):
            ops.implementations("nothing")
        with self.assertRaisesRegex(ValueError, "no instruction set is called mmx"):
            ops.Context(1, "mmx")

    def test_a_context_decides_threads_and_instruction_set(self):
        x, weight = normal(5, 64), normal(64)
        baseline = ops.Context(threads=1, instruction_set="baseline")
        self.assertEqual((baseline.threads, baseline.instruction_set), (1, "baseline"))
        np.testing.assert_array_equal(ops.rms_norm(x, weight, context=baseline),
                                      ops.rms_norm(x, weight))

    def test_out_is_written_and_returned(self):
        x, weight, out = normal(3, 16), normal(16), np.zeros((3, 16), np.float32)
        self.assertIs(ops.rms_norm(x, weight, out=out), out)
        np.testing.assert_array_equal(out, ops.rms_norm(x, weight))


class RowOperators(unittest.TestCase):
    def test_norms(self):
        for dtype, tolerance in HALF.items():
            x = normal(4, 72).astype(dtype)
            weight, bias = normal(72), normal(72)
            exact = x.astype(np.float64)
            rms = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-5) * weight
            np.testing.assert_allclose(ops.rms_norm(x, weight), rms, tolerance, tolerance)
            centred = exact - exact.mean(-1, keepdims=True)
            layer = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5) * weight + bias
            np.testing.assert_allclose(ops.layer_norm(x, weight, bias), layer, tolerance, tolerance)

    def test_rms_norm_adds_the_residual(self):
        x, residual, weight = normal(3, 32), normal(3, 32), normal(32)
        total = x + residual
        out = ops.rms_norm(x, weight, residual=residual)
        np.testing.assert_array_equal(residual, total)
        np.testing.assert_array_equal(out, ops.rms_norm(total, weight))

    def test_bfloat16(self):
        x, weight = normal(4, 64).astype(ml_dtypes.bfloat16), normal(64)
        out = ops.rms_norm(x, weight)
        self.assertEqual(out.dtype, ml_dtypes.bfloat16)
        full = ops.rms_norm(x.astype(np.float32), weight)
        np.testing.assert_array_equal(out, full.astype(ml_dtypes.bfloat16))

    def test_rope_turns_pairs(self):
        x, positions = normal(3, 2, 8), np.array([0, 5, 9], np.int32)
        frequency = (10000.0 ** (-np.arange(4) / 4)).astype(np.float32)
        angle = positions[:, None, None] * frequency.astype(np.float64)
        first, second = x[..., :4].astype(np.float64), x[..., 4:].astype(np.float64)
        expected = np.concatenate([first * np.cos(angle) - second * np.sin(angle),
                                   second * np.cos(angle) + first * np.sin(angle)], -1)
        np.testing.assert_allclose(ops.rope(x, positions, frequency), expected, 1e-5, 1e-5)
        table = ops.rope_table(positions, frequency, scale=2.0)
        np.testing.assert_allclose(table[..., 0], 2 * np.cos(angle[:, 0]), 1e-5, 1e-5)
        np.testing.assert_allclose(table[..., 1], 2 * np.sin(angle[:, 0]), 1e-5, 1e-5)

    def test_soft_cap(self):
        x = 50 * normal(2, 5)
        expected = 30 * np.tanh(x.astype(np.float64) / 30)
        ops.soft_cap(x, 30.0)
        np.testing.assert_allclose(x, expected, 1e-5, 1e-5)
        with self.assertRaisesRegex(ValueError, "cap"):
            ops.soft_cap(x, 0.0)

    def test_activation_embedding_and_gather(self):
        x = normal(3, 12)
        gate, up = x[:, :6].astype(np.float64), x[:, 6:]
        np.testing.assert_allclose(ops.act_and_mul(x), gate / (1 + np.exp(-gate)) * up, 1e-5, 1e-6)
        table, ids = normal(10, 6), np.array([3, 9, 3], np.int32)
        np.testing.assert_array_equal(ops.embedding(ids, table), table[ids])
        with self.assertRaisesRegex(ValueError, "10"):
            ops.embedding(np.array([10], np.int32), table)
        start = np.array([0, 2, 3], np.int32)
        np.testing.assert_array_equal(ops.gather_last_rows(x, query_start=start), x[[1, 2]])


class KvOperators(unittest.TestCase):
    def test_reshape_and_cache_skips_negative_slots(self):
        key, value = normal(3, 2, 16), normal(3, 2, 16)
        slots = np.array([5, -1, 2], np.int64)
        for order, shape in (("HND", (2, 2, 4, 16)), ("NHD", (2, 4, 2, 16))):
            k_cache, v_cache = np.zeros(shape, np.float16), np.zeros(shape, np.float16)
            ops.reshape_and_cache(key, value, slots, k_cache, v_cache, page_order=order)
            by_slot = k_cache if order == "NHD" else k_cache.swapaxes(1, 2)
            expected = np.zeros((8, 2, 16), np.float16)
            expected[[5, 2]] = key[[0, 2]].astype(np.float16)
            np.testing.assert_array_equal(by_slot.reshape(8, 2, 16), expected)

    def test_rope_and_cache_is_both(self):
        query, key, value = normal(3, 4, 16), normal(3, 2, 16), normal(3, 2, 16)
        slots, positions = np.array([5, -1, 2], np.int64), np.array([0, 5, 9], np.int32)
        frequency = (10000.0 ** (-np.arange(8) / 8)).astype(np.float32)
        table = ops.rope_table(positions, frequency)
        caches = [np.zeros((2, 2, 4, 16), np.float32) for _ in range(4)]
        turned = ops.rope(query, positions, frequency), ops.rope(key, positions, frequency)
        ops.reshape_and_cache(turned[1], value, slots, *caches[:2])
        ops.rope_and_cache(query, key, value, table, slots, *caches[2:])
        np.testing.assert_allclose(query, turned[0], 1e-5, 1e-5)
        np.testing.assert_allclose(caches[2], caches[0], 1e-5, 1e-5)
        np.testing.assert_array_equal(caches[3], caches[1])

    def test_float8_cache_keeps_a_scale_for_each_token_and_head(self):
        key = normal(4, 2, 16) * 50
        k_cache, v_cache = (np.zeros((1, 2, 4, 16), ml_dtypes.float8_e4m3fn) for _ in range(2))
        k_scale, v_scale = (np.zeros((1, 2, 4), np.float32) for _ in range(2))
        ops.reshape_and_cache(key, key, np.arange(4), k_cache, v_cache, k_scale=k_scale,
                              v_scale=v_scale)
        expected = np.abs(key).max(-1).T / 448
        np.testing.assert_allclose(k_scale[0], expected, 1e-6)
        back = k_cache.astype(np.float32)[0] * k_scale[0][..., None]
        np.testing.assert_allclose(back.swapaxes(0, 1), key, 0.07, 0.5)

    def test_pages_and_tables(self):
        pages = normal(5, 3, 4)
        moved = pages.copy()
        ops.copy_pages(moved, moved, np.array([[0, 3], [1, 4]], np.int32))
        np.testing.assert_array_equal(moved[3:], pages[:2])
        table = np.array([[7, 8, 9], [4, 5, 6]], np.int32)
        ids, lengths = np.array([1, 0, 1], np.int32), np.array([0, 16, 17], np.int32)
        out = ops.page_table_copy(table, ids, lengths, 16, max_pages=2)
        np.testing.assert_array_equal(out, [[-1, -1], [7, -1], [4, 5]])
        indptr, last = np.zeros(4, np.int32), np.zeros(3, np.int32)
        indices = np.full(4, -9, np.int32)
        ops.repack_kv_index(table, ids, lengths, 16, indptr, indices, last)
        np.testing.assert_array_equal(indptr, [0, 0, 1, 3])
        np.testing.assert_array_equal(indices, [7, 4, 5, -9])
        np.testing.assert_array_equal(last, [0, 16, 1])

    def test_latent_cache_and_cast(self):
        latent, rope = normal(2, 32), normal(2, 16)
        cache = np.zeros((2, 4, 48), np.float32)
        ops.concat_and_cache_mla(latent, rope, np.array([6, 1], np.int32), cache)
        np.testing.assert_array_equal(cache.reshape(8, 48)[[6, 1]], np.hstack([latent, rope]))
        x = normal(3, 10)
        np.testing.assert_array_equal(ops.cast(x, "f16"), x.astype(np.float16))


class AttentionOperators(unittest.TestCase):
    def test_paged_and_contiguous_agree_with_numpy(self):
        key, value, query = normal(21, 2, 32), normal(21, 2, 32), normal(3, 4, 32)
        table = np.array([[5, 0, 3]], np.int32)
        expected = attend(query, key, value, 32**-0.5, 18)
        start, key_start = np.array([0, 3], np.int32), np.array([0, 21], np.int32)
        flat = ops.flash_attention(query, start, key, value, key_start)
        np.testing.assert_allclose(flat, expected, 1e-5, 1e-6)
        caches = {"k_cache": paged(key, table[0], 8, 6), "v_cache": paged(value, table[0], 8, 6),
                  "page_table": table, "kv_length": np.array([21], np.int32)}
        np.testing.assert_array_equal(ops.flash_attention(query, start, **caches), flat)
        np.testing.assert_array_equal(ops.paged_attention(query, query_start=start, **caches), flat)

    def test_parts_merge_into_the_whole(self):
        key, value, query = normal(20, 1, 16), normal(20, 1, 16), normal(1, 2, 16)
        start = np.array([0, 1], np.int32)
        parts = []
        for keys in (slice(0, 12), slice(12, 20)):
            lse = np.zeros((1, 2), np.float32)
            count = np.array([0, keys.stop - keys.start], np.int32)
            part = ops.flash_attention(query, start, key[keys], value[keys], count, lse=lse)
            parts += [part, lse]
        merged, _ = ops.merge_attention_states(*parts)
        whole = attend(query, key, value, 0.25, 19)
        np.testing.assert_allclose(merged, whole, 1e-5, 1e-6)

    def test_latent_attention(self):
        rows, query = normal(9, 48), normal(1, 3, 48)
        cache = np.full((4, 4, 48), np.nan, np.float32)
        table = np.array([[2, 0, 3]], np.int32)
        for t, row in enumerate(rows):
            cache[table[0, t // 4], t % 4] = row
        out = ops.mla_attention(query, cache, table, np.array([9], np.int32), latent_dim=32,
                                scale=0.2)
        expected = attend(query, rows[:, None], rows[:, None, :32], 0.2, 8)
        np.testing.assert_allclose(out, expected, 1e-5, 1e-6)


class LinearOperators(unittest.TestCase):
    def test_dense_and_int8(self):
        x, weight = normal(5, 64), normal(24, 64)
        dense = ops.linear(x, ops.pack_weight(weight))
        np.testing.assert_allclose(dense, x @ weight.T, 1e-4, 1e-4)
        scale = (np.abs(weight).max(1) / 127).astype(np.float32)
        codes = np.round(weight / scale[:, None]).astype(np.int8)
        packed = ops.pack_weight(codes, "block8", scales=scale)
        self.assertEqual((packed.n, packed.k), (24, 64))
        np.testing.assert_allclose(ops.linear(x, packed), x @ weight.T, 0.05, 0.3)

    def test_float8_activations(self):
        x, codes = normal(3, 200), normal(20, 200).astype(ml_dtypes.float8_e4m3fn)
        scales = np.array([[0.5, 2.0]], np.float32)
        packed = ops.pack_weight(codes, "fp8", scales=scales)
        rounded = np.empty_like(x)
        for group in (slice(0, 128), slice(128, 200)):
            largest = np.abs(x[:, group]).max(1, keepdims=True)
            nearest = (x[:, group] * (np.float32(448) / largest)).astype(ml_dtypes.float8_e4m3fn)
            rounded[:, group] = nearest.astype(np.float32) * (largest / np.float32(448))
        weight = codes.astype(np.float32) * scales.repeat(128, 1)[:, :200]
        np.testing.assert_allclose(ops.linear(x, packed), rounded @ weight.T, 1e-4, 1e-3)

    def test_norm_and_activation(self):
        x, weight, norm = normal(3, 64), normal(24, 64), normal(64)
        packed = ops.pack_weight(weight)
        out = ops.linear(x, packed, norm_weight=norm, norm_epsilon=0.1, norm_weight_offset=1.0,
                         activation="silu")
        normed = ops.rms_norm(x, norm, epsilon=0.1, weight_offset=1.0)
        np.testing.assert_array_equal(out, ops.act_and_mul(ops.linear(normed, packed)))

    def test_blocks_of_gguf(self):
        blocks = np.zeros((3, 2, 34), np.uint8)  # q8_0: a half-precision scale, 32 codes
        codes = RANDOM.integers(-127, 128, (3, 2, 32)).astype(np.int8)
        blocks[..., :2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
        blocks[..., 2:] = codes.view(np.uint8)
        weight = codes.reshape(3, 64).astype(np.float64) * np.float64(np.float16(0.01))
        x = normal(2, 64)
        packed = ops.pack_weight(blocks.reshape(3, 68), block_type="q8_0")
        np.testing.assert_allclose(ops.linear(x, packed), x @ weight.T, 1e-4, 1e-4)

    def test_mixture_of_experts(self):
        tokens, experts, width, hidden = 6, 4, 16, 8
        x, logits = normal(tokens, width), normal(tokens, experts)
        gate_up, down = normal(experts, 2 * hidden, width), normal(experts, width, hidden)
        ids, weights = ops.moe_route(logits, 2, renormalize=True)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :2]
        np.testing.assert_array_equal(ids, order)
        np.testing.assert_allclose(weights.sum(1), 1, 1e-6)
        packed = [(ops.pack_weight(a), ops.pack_weight(b)) for a, b in zip(gate_up, down)]
        expected = np.zeros((tokens, width))
        for t in range(tokens):
            for j in range(2):
                h = gate_up[ids[t, j]] @ x[t]
                h = h[:hidden] / (1 + np.exp(-h[:hidden])) * h[hidden:]
                expected[t] += weights[t, j] * (down[ids[t, j]] @ h)
        np.testing.assert_allclose(ops.moe(x, ids, weights, packed), expected, 1e-3, 1e-4)


class SamplingOperators(unittest.TestCase):
    def test_greedy_and_log_probabilities(self):
        logits = normal(3, 50)
        params = [ops.sampling_params(temperature=0.0, top_logprobs=2)] * 3
        drawn = ops.topk_topp_sampling(logits, params)
        self.assertEqual([d.token for d in drawn], logits.argmax(1).tolist())
        logprob = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
        np.testing.assert_allclose([d.logprob for d in drawn], logprob.max(1), 1e-5)
        self.assertEqual(drawn[0].top[0][0], drawn[0].token)

    def test_a_draw_depends_on_seed_and_position_alone(self):
        logits = normal(4, 200)
        params = [ops.sampling_params(seed=row) for row in range(4)]
        batch = ops.topk_topp_sampling(logits, params, positions=[9] * 4)
        for row in range(4):
            alone = ops.topk_topp_sampling(logits[row:row + 1], params[row:row + 1], positions=[9])
            self.assertEqual(alone[0].token, batch[row].token)

    def test_penalties_and_bias(self):
        logits = np.array([[2.0, 1.9, 0.0]], np.float32)
        for fields, outputs, token in (({}, [[]], 0), ({"presence_penalty": 0.5}, [[0]], 1),
                                       ({"logit_bias": [(2, 5.0)]}, [[]], 2)):
            params = [ops.sampling_params(temperature=0.0, **fields)]
            drawn = ops.topk_topp_sampling(logits, params, outputs=outputs)
            self.assertEqual(drawn[0].token, token, fields)

    def test_speculation_emits_what_plain_sampling_would(self):
        logits, params = normal(3, 40), ops.sampling_params(seed=5)
        plain = [ops.topk_topp_sampling(logits[i:i + 1], [params], positions=[i])[0].token
                 for i in range(3)]
        wrong = (plain[1] + 1) % 40
        emitted = ops.speculative_sampling(logits, [[plain[0], wrong]], [params])[0]
        self.assertEqual([e.token for e in emitted], plain[:2])


if __name__ == "__main__":
    unittest.main()

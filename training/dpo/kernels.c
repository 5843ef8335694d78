/* What a layer does between its products, each in one pass over memory: norms, gates, rotations and attention within a pack.

   Compiled for the processor it runs on when a run begins (kernels.py, which says what is what). Sums are in float; `half` says
   that the arrays given as `void` hold bfloat16 in its place. A number is computed in the same order each time.

   Rows are tokens. A pair lies in them as prompt | chosen | rejected, and a rejected answer does not see the chosen one. What can run
   out of memory says so by 1. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define W 16 /* floats in a register */
#define COLUMNS 4 /* registers of a row that are summed at once, of ROWS rows */
#elif defined(__AVX__)
#define W 8
#define COLUMNS 2
#elif defined(__aarch64__)
#define W 4
#define COLUMNS 4
#else
#define W 4
#define COLUMNS 2
#endif
#define ROWS 6
#define BLOCK 32 /* queries whose scores exist at once */
#define PADDED(n) (((n) + W - 1) / W * W)

typedef float V __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(4 * W), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE V all(float x) { return x - (V){0}; }
INLINE V get(const float *from) { return *(const V *)from; }
INLINE void put(float *to, V x) { *(V *)to = x; }
INLINE V least(V x, V y) { /* y where one of them is NaN */
    const I less = x < y;
    return (V)(((I)x & less) | ((I)y & ~less));
}

INLINE float sum_of(V x) {
    float total = 0;
    for (int i = 0; i < W; i++) total += x[i];
    return total;
}

/* e^x within 2 units of the last place (Cephes' polynomial) for |x| ≤ 87, which is as far as x counts; NaN stays. */
INLINE V exp_of(V x) {
    x = least(all(87), -least(all(87), -x));
    const V magic = all(12582912.0f); /* 1.5 · 2^23: what is added to it is rounded to a whole number */
    V whole = x * 1.44269504f + magic - magic;
    V rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    V y = all(1.9875691500e-4f);
    y = y * rest + 1.3981999507e-3f;
    y = y * rest + 8.3334519073e-3f;
    y = y * rest + 4.1665795894e-2f;
    y = y * rest + 1.6666665459e-1f;
    y = y * rest + 5.0000001201e-1f;
    y = y * rest * rest + rest + 1;
    return y * (V)((__builtin_convertvector(whole, I) + 127) << 23);
}

/* n numbers from and to an array of bfloat16 or float, which begins `at` numbers later. */
INLINE void load(float *restrict to, const void *from, long at, long n, int half) {
    if (!half) {
        memcpy(to, (const float *)from + at, n * sizeof(float));
        return;
    }
    const uint16_t *restrict rough = (const uint16_t *)from + at;
    uint32_t *restrict bits = (uint32_t *)to;
    for (long i = 0; i < n; i++) bits[i] = (uint32_t)rough[i] << 16;
}

INLINE void store(void *to, long at, const float *restrict from, long n, int half) {
    if (!half) {
        memcpy((float *)to + at, from, n * sizeof(float));
        return;
    }
    uint16_t *restrict rough = (uint16_t *)to + at;
    const uint32_t *restrict bits = (const uint32_t *)from;
    for (long i = 0; i < n; i++) { /* to the nearest, of two the even one; NaN stays one */
        uint32_t rounded = (bits[i] + 0x7fff + ((bits[i] >> 16) & 1)) >> 16;
        rough[i] = (bits[i] & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (uint16_t)rounded;
    }
}

/* Rows are held with zeros up to a whole register. */
INLINE float dot(const float *x, const float *y, long padded) {
    V total = all(0);
    for (long i = 0; i < padded; i += W) total += get(x + i) * get(y + i);
    return sum_of(total);
}

/* Zeros, with room for a tile's registers beyond the last; NULL where memory is short. */
static float *buffer(long numbers) {
    const size_t bytes = (numbers + COLUMNS * W) * sizeof(float);
    void *made = NULL;
    return posix_memalign(&made, 64, bytes) ? NULL : memset(made, 0, bytes);
}

/* C (+)= A · B, (m, k), (k, n) → (m, n). A's numbers lie am from row to row and ak from column to column. Whole registers of C
   and B are read and written. */
INLINE void tile(const int rows, const int columns, long k, const float *a, long am, long ak, const float *b, long bk,
                 float *c, long cm, int add) {
    V sums[ROWS][COLUMNS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) sums[i][j] = add ? get(c + i * cm + j * W) : all(0);
    for (long l = 0; l < k; l++, a += ak, b += bk) {
        V line[COLUMNS];
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) line[j] = get(b + j * W);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            V one = all(a[i * am]);
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++) sums[i][j] += one * line[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) put(c + i * cm + j * W, sums[i][j]);
}

static void product(long m, long n, long k, const float *a, long am, long ak, const float *b, long bk, float *c, long cm, int add) {
    for (long j = 0; j < n;) {
        const int wide = n - j > (COLUMNS - 1) * W;
        for (long i = 0; i < m;) {
            const float *from = a + i * am;
            float *to = c + i * cm + j;
            const long left = m - i;
            if (wide && left >= ROWS) tile(ROWS, COLUMNS, k, from, am, ak, b + j, bk, to, cm, add), i += ROWS;
            else if (wide && left >= 2) tile(2, COLUMNS, k, from, am, ak, b + j, bk, to, cm, add), i += 2;
            else if (wide) tile(1, COLUMNS, k, from, am, ak, b + j, bk, to, cm, add), i += 1;
            else if (left >= ROWS) tile(ROWS, 1, k, from, am, ak, b + j, bk, to, cm, add), i += ROWS;
            else tile(1, 1, k, from, am, ak, b + j, bk, to, cm, add), i += 1;
        }
        j += wide ? COLUMNS * W : W;
    }
}

/* RMSNorm: rate = 1 / √(mean(x²) + ε), out = rate · x · gain. */
int norm_forward(int64_t rows, int64_t width, const float *x, const float *gain, float epsilon, float *rate, void *out, int half) {
    const long padded = PADDED(width);
    float *row = buffer(padded);
    if (!row) return 1;
    for (long t = 0; t < rows; t++) {
        memcpy(row, x + t * width, width * sizeof(float));
        rate[t] = 1 / __builtin_sqrtf(dot(row, row, padded) / width + epsilon);
        for (long i = 0; i < width; i++) row[i] = row[i] * rate[t] * gain[i];
        store(out, t * width, row, width, half);
    }
    free(row);
    return 0;
}

/* With u = rate · x and g = gain · the gradient: dx = rate · (g − u · mean(g ∘ u)), d gain = Σ u ∘ the gradient, added. */
int norm_backward(int64_t rows, int64_t width, const float *x, const float *gain, const float *rate, const void *gradient, int half,
                  float *to_x, float *to_gain) {
    const long padded = PADDED(width);
    float *unit = buffer(2 * padded), *slope = unit + padded;
    if (!unit) return 1;
    for (long t = 0; t < rows; t++) {
        load(slope, gradient, t * width, width, half);
        for (long i = 0; i < width; i++) unit[i] = x[t * width + i] * rate[t];
        for (long i = 0; i < width; i++) to_gain[i] += unit[i] * slope[i];
        for (long i = 0; i < width; i++) slope[i] *= gain[i];
        const float mean = dot(slope, unit, padded) / width;
        for (long i = 0; i < width; i++) to_x[t * width + i] = (slope[i] - unit[i] * mean) * rate[t];
    }
    free(unit);
    return 0;
}

/* x + y, which may be half. */
int add(int64_t numbers, const float *x, const void *y, int half, float *out) {
    float part[1024];
    for (long at = 0; at < numbers; at += 1024) {
        const long n = numbers - at < 1024 ? numbers - at : 1024;
        load(part, y, at, n, half);
        for (long i = 0; i < n; i++) out[at + i] = x[at + i] + part[i];
    }
    return 0;
}

INLINE V sigmoid(V x) { return 1 / (1 + exp_of(-x)); }

/* out = silu(gate) ∘ up; rows of gate and up begin `apart` numbers after each other. With a gradient of that also theirs, whose rows
   begin `to_apart` numbers after each other. */
int gated(int64_t rows, int64_t width, const void *gate, const void *up, int64_t apart, void *out, const void *gradient, void *to_gate,
          void *to_up, int64_t to_apart, int half) {
    const long padded = PADDED(width);
    float *g = buffer(6 * padded), *u = g + padded, *made = u + padded, *slope = made + padded, *to_g = slope + padded,
          *to_u = to_g + padded;
    if (!g) return 1;
    for (long t = 0; t < rows; t++) {
        load(g, gate, t * apart, width, half);
        load(u, up, t * apart, width, half);
        if (gradient) load(slope, gradient, t * width, width, half);
        for (long i = 0; i < padded; i += W) {
            const V x = get(g + i), y = get(u + i), share = sigmoid(x), open = x * share;
            put(made + i, open * y);
            if (gradient) {
                put(to_u + i, get(slope + i) * open);
                put(to_g + i, get(slope + i) * y * (share + open * (1 - share)));
            }
        }
        store(out, t * width, made, width, half);
        if (gradient) {
            store(to_gate, t * to_apart, to_g, width, half);
            store(to_up, t * to_apart, to_u, width, half);
        }
    }
    free(g);
    return 0;
}

/* A pack as attention sees it: `heads` of queries share `groups` of keys and values, of `width` numbers each. */
typedef struct { /* as in kernels.py */
    int64_t heads, groups, width, pairs;
    const int64_t *spans; /* of each pair: start, prompt, chosen, rejected */
    const void *query, *key, *value;
    int64_t apart[3], to_apart[3]; /* numbers from row to row of these, and of their gradients */
    const float *cos, *sin; /* (tokens, width); NULL where nothing is rotated */
    float scale;
    int32_t half;
} Pack;

/* Rotary positions in halves a, b: (a cos − b sin, b cos + a sin). Backward: the transpose of that. */
INLINE void rotate(float *restrict to, const float *restrict from, const Pack *pack, long token, float scale) {
    const long width = pack->width, half = width / 2;
    if (!pack->cos) {
        for (long i = 0; i < width; i++) to[i] = from[i] * scale;
        return;
    }
    const float *restrict cos = pack->cos + token * width, *restrict sin = pack->sin + token * width;
    for (long i = 0; i < half; i++) to[i] = (from[i] * cos[i] - from[half + i] * sin[i]) * scale;
    for (long i = 0; i < half; i++) to[half + i] = (from[half + i] * cos[half + i] + from[i] * sin[half + i]) * scale;
}

INLINE void rotate_back(float *restrict to, const float *restrict from, const Pack *pack, long token, float scale) {
    const long width = pack->width, half = width / 2;
    if (!pack->cos) {
        for (long i = 0; i < width; i++) to[i] = from[i] * scale;
        return;
    }
    const float *restrict cos = pack->cos + token * width, *restrict sin = pack->sin + token * width;
    for (long i = 0; i < half; i++) to[i] = (from[i] * cos[i] + from[half + i] * sin[half + i]) * scale;
    for (long i = 0; i < half; i++) to[half + i] = (from[half + i] * cos[half + i] - from[i] * sin[i]) * scale;
}

/* Queries `begin` to begin + count of a pair, and what they see: the `before` first keys, and `own` more from `middle` on where they are
   of a rejected answer. The last `count` of the `seen` keys are the queries' own. */
typedef struct { long begin, count, before, middle, own, seen; } Block;

INLINE Block block_at(const int64_t *span, long begin) {
    const long prompt = span[1], middle = prompt + span[2], end = middle + span[3];
    const int rejected = begin >= middle;
    const long left = (rejected ? end : middle) - begin, count = left < BLOCK ? left : BLOCK;
    const long before = rejected ? prompt : begin + count, own = rejected ? begin + count - middle : 0;
    return (Block){begin, count, before, middle, own, before + own};
}

/* queries · keysᵀ: (count, width), (width, keys) → (count, seen). */
INLINE void by_keys(const Block *block, long width, const float *rows, long padded, const float *turned, long apart, float *to, long at) {
    product(block->count, block->before, width, rows, padded, 1, turned, apart, to, at, 0);
    product(block->count, block->own, width, rows, padded, 1, turned + block->middle, apart, to + block->before, at, 0);
}

/* (count, seen) · (keys, padded) → (count, padded). */
INLINE void by_values(const Block *block, const float *shares, long at, const float *values, long padded, float *to) {
    product(block->count, padded, block->before, shares, at, 1, values, padded, to, padded, 0);
    product(block->count, padded, block->own, shares + block->before, at, 1, values + block->middle * padded, padded, to, padded, 1);
}

/* (count, seen)ᵀ · (count, padded), added to (keys, padded). */
INLINE void to_keys(const Block *block, const float *shares, long at, const float *rows, long padded, float *to) {
    product(block->before, padded, block->count, shares, 1, at, rows, padded, to, padded, 1);
    product(block->own, padded, block->count, shares + block->before, 1, at, rows, padded, to + block->middle * padded, padded, 1);
}

static void turn(const float *from, long rows, long padded, float *to, long apart) {
    for (long t = 0; t < rows; t++)
        for (long i = 0; i < padded; i++) to[i * apart + t] = from[t * padded + i];
}

static long longest(const Pack *pack) {
    long most = 0;
    for (long pair = 0; pair < pack->pairs; pair++) {
        const int64_t *span = pack->spans + 4 * pair;
        const long length = span[1] + span[2] + span[3];
        if (length > most) most = length;
    }
    return most;
}

/* Keys rotated and values of one pair and group, as float. */
INLINE void take_keys(const Pack *pack, long start, long n, long group, float *key, float *value, long padded, float *row) {
    const long width = pack->width;
    for (long t = 0; t < n; t++) {
        const long token = start + t;
        load(row, pack->key, token * pack->apart[1] + group * width, width, pack->half);
        rotate(key + t * padded, row, pack, token, 1);
        load(value + t * padded, pack->value, token * pack->apart[2] + group * width, width, pack->half);
    }
}

INLINE void take_queries(const Pack *pack, const Block *block, long start, long head, float *query, long padded, float *row) {
    for (long r = 0; r < block->count; r++) {
        const long token = start + block->begin + r, width = pack->width;
        load(row, pack->query, token * pack->apart[0] + head * width, width, pack->half);
        rotate(query + r * padded, row, pack, token, pack->scale);
    }
}

/* Of the items `first` to `last`, each the group item % groups of the pair item / groups: out (tokens, heads · width) and, for the way
   back, the logarithm of each softmax's sum (tokens, heads). */
int attention_forward(const Pack *pack, int64_t first, int64_t last, void *out, float *log_sum) {
    const long width = pack->width, padded = PADDED(width), most = longest(pack), apart = PADDED(most), at = PADDED(most + W);
    const long each = pack->heads / pack->groups;
    float *key = buffer(2 * most * padded + padded * apart + BLOCK * (2 * padded + at) + padded);
    if (!key) return 1;
    float *value = key + most * padded, *turned = value + most * padded, *query = turned + padded * apart,
          *made = query + BLOCK * padded, *shares = made + BLOCK * padded, *row = shares + BLOCK * at;
    for (long item = first; item < last; item++) {
        const int64_t *span = pack->spans + item / pack->groups * 4;
        const long start = span[0], length = span[1] + span[2] + span[3], group = item % pack->groups;
        take_keys(pack, start, length, group, key, value, padded, row);
        turn(key, length, padded, turned, apart);
        Block block;
        for (long begin = 0; begin < length; begin += block.count) {
            block = block_at(span, begin);
            for (long head = group * each; head < (group + 1) * each; head++) {
                take_queries(pack, &block, start, head, query, padded, row);
                by_keys(&block, width, query, padded, turned, apart, shares, at);
                for (long r = 0; r < block.count; r++) {
                    float *line = shares + r * at;
                    const long seen = block.seen - block.count + r + 1;
                    for (long i = seen; i < PADDED(seen); i++) line[i] = -1e30f;
                    V top = get(line), total = all(0);
                    for (long i = W; i < seen; i += W) top = -least(-top, -get(line + i));
                    float highest = top[0];
                    for (int i = 1; i < W; i++) highest = top[i] > highest ? top[i] : highest;
                    for (long i = 0; i < seen; i += W) {
                        const V share = exp_of(get(line + i) - highest);
                        put(line + i, share);
                        total += share;
                    }
                    const float sum = sum_of(total), part = 1 / sum;
                    for (long i = 0; i < seen; i += W) put(line + i, get(line + i) * part);
                    for (long i = seen; i < PADDED(block.seen); i++) line[i] = 0;
                    log_sum[(start + begin + r) * pack->heads + head] = highest + __builtin_logf(sum);
                }
                by_values(&block, shares, at, value, padded, made);
                for (long r = 0; r < block.count; r++)
                    store(out, ((start + begin + r) * pack->heads + head) * width, made + r * padded, width, pack->half);
            }
        }
    }
    free(key);
    return 0;
}

/* From the gradient of out (tokens, heads · width) those of queries, keys and values. With P the softmax of the scores S: dS = P ∘ (dP − rowsum(P ∘ dP)). */
int attention_backward(const Pack *pack, int64_t first, int64_t last, const void *gradient, const float *log_sum, void *to_query,
                       void *to_key, void *to_value) {
    const long width = pack->width, padded = PADDED(width), most = longest(pack), apart = PADDED(most), at = PADDED(most + W);
    const long each = pack->heads / pack->groups;
    float *key = buffer(4 * most * padded + 2 * padded * apart + BLOCK * (3 * padded + 2 * at) + 2 * padded);
    if (!key) return 1;
    float *value = key + most * padded, *key_slope = value + most * padded, *value_slope = key_slope + most * padded,
          *turned_key = value_slope + most * padded, *turned_value = turned_key + padded * apart,
          *query = turned_value + padded * apart, *slope = query + BLOCK * padded, *made = slope + BLOCK * padded,
          *shares = made + BLOCK * padded, *by_shares = shares + BLOCK * at, *row = by_shares + BLOCK * at, *back = row + padded;
    for (long item = first; item < last; item++) {
        const int64_t *span = pack->spans + item / pack->groups * 4;
        const long start = span[0], length = span[1] + span[2] + span[3], group = item % pack->groups;
        take_keys(pack, start, length, group, key, value, padded, row);
        turn(key, length, padded, turned_key, apart);
        turn(value, length, padded, turned_value, apart);
        memset(key_slope, 0, 2 * most * padded * sizeof(float));
        Block block;
        for (long begin = 0; begin < length; begin += block.count) {
            block = block_at(span, begin);
            for (long head = group * each; head < (group + 1) * each; head++) {
                take_queries(pack, &block, start, head, query, padded, row);
                for (long r = 0; r < block.count; r++)
                    load(slope + r * padded, gradient, ((start + begin + r) * pack->heads + head) * width, width, pack->half);
                by_keys(&block, width, query, padded, turned_key, apart, shares, at);
                by_keys(&block, width, slope, padded, turned_value, apart, by_shares, at);
                for (long r = 0; r < block.count; r++) {
                    float *line = shares + r * at, *to = by_shares + r * at;
                    const long seen = block.seen - block.count + r + 1;
                    const float shift = log_sum[(start + begin + r) * pack->heads + head];
                    for (long i = 0; i < seen; i += W) put(line + i, exp_of(get(line + i) - shift));
                    for (long i = seen; i < PADDED(block.seen); i++) line[i] = to[i] = 0;
                    const float common = dot(line, to, PADDED(seen));
                    for (long i = 0; i < seen; i += W) put(to + i, get(line + i) * (get(to + i) - common));
                }
                by_values(&block, by_shares, at, key, padded, made);
                to_keys(&block, by_shares, at, query, padded, key_slope);
                to_keys(&block, shares, at, slope, padded, value_slope);
                for (long r = 0; r < block.count; r++) {
                    const long token = start + begin + r;
                    rotate_back(back, made + r * padded, pack, token, pack->scale);
                    store(to_query, token * pack->to_apart[0] + head * width, back, width, pack->half);
                }
            }
        }
        for (long t = 0; t < length; t++) {
            const long token = start + t;
            rotate_back(back, key_slope + t * padded, pack, token, 1);
            store(to_key, token * pack->to_apart[1] + group * width, back, width, pack->half);
            store(to_value, token * pack->to_apart[2] + group * width, value_slope + t * padded, width, pack->half);
        }
    }
    free(key);
    return 0;
}

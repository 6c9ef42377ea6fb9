/* One TestU01 test on one stream of fanwise words, its p-values on standard output.
 *
 *     quality(7, {"", LIBRARY, BATTERY, TEST, FIRST, ORDER, REVERSED})    keys on standard input
 *
 * LIBRARY is fanwise's native shared object ("-" for the mutants), BATTERY small or crush, TEST its number there,
 * FIRST the word of the order to start at, REVERSED 1 to test the words with their bits reversed. Keys are read as
 * lines of four hexadecimal words k0 k1 s0 s1. ORDER names an entry of the table ORDERS below.
 * Every result is a line "p-value <tab> number <tab> name". quality.py compiles this into a shared object and calls it
 * in a Python process of its own: LIBRARY is a Python extension, whose symbols only such a process has.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<testu01/bbattery.h>)
#include <testu01/bbattery.h>
#include <testu01/swrite.h>
#include <testu01/unif01.h>
#else
#include <bbattery.h>
#include <swrite.h>
#include <unif01.h>
#endif

#define BUFFER 65536 /* words made at a time: a multiple of 4 MAX_KEYS */
#define MAX_KEYS 64

typedef void words_function(const uint32_t key[4], uint64_t first, uint64_t count, uint32_t *out);
typedef void normals_function(const uint32_t key[4], uint64_t first, uint64_t count, float *out);
typedef void order_function(uint64_t first, uint32_t *out);

static words_function *words;
static normals_function *normals;
static uint32_t keys[MAX_KEYS][4];
static uint64_t key_count;

static uint32_t buffer[BUFFER];
static uint32_t scratch[BUFFER];
static size_t used = BUFFER;
static uint64_t position;
static order_function *order;
static int reversed;

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "quality: %s: %s\n", what, detail);
    exit(2);
}

/* The orders. Each fills `out` with words first .. first + BUFFER - 1 of its own sequence. */

static void own_order(uint64_t first, uint32_t *out)
{
    words(keys[0], first, BUFFER, out);
}

/* `run` words of every key in turn: 1 for single words, 4 for blocks. */
static void interleave(uint64_t first, uint64_t run, uint32_t *out)
{
    uint64_t each = BUFFER / key_count;
    for (uint64_t k = 0; k < key_count; k++) {
        words(keys[k], first / key_count, each, scratch);
        for (uint64_t i = 0; i < each; i += run)
            memcpy(out + i * key_count + k * run, scratch + i, run * sizeof *out);
    }
}

static void by_word(uint64_t first, uint32_t *out)
{
    interleave(first, 1, out);
}

static void by_block(uint64_t first, uint32_t *out)
{
    interleave(first, 4, out);
}

static double normal_cdf(double z)
{
    return 0.5 * erfc(-z * 0.70710678118654752440);
}

static uint32_t scaled_cdf(double z, double cells)
{
    double cell = floor(normal_cdf(z) * cells);
    return (uint32_t)(cell < cells ? cell : cells - 1);
}

/* Two normals a word, 16 bits of each: float32 normals have no 32 bits to give (spacing 2^-23 for 1 <= |z| < 2). */
static void normal_halves(uint64_t first, uint32_t *out)
{
    float *values = (float *)scratch;
    for (int half = 0; half < 2; half++) {
        uint32_t *part = out + half * (BUFFER / 2);
        normals(keys[0], 2 * first + (uint64_t)half * BUFFER, BUFFER, values);
        for (size_t i = 0; i < BUFFER / 2; i++)
            part[i] = scaled_cdf(values[2 * i], 65536.0) << 16 | scaled_cdf(values[2 * i + 1], 65536.0);
    }
}

/* One normal a word, all 32 bits: shows the grid of float32 itself. */
static void normal_words(uint64_t first, uint32_t *out)
{
    float *values = (float *)scratch;
    normals(keys[0], first, BUFFER, values);
    for (size_t i = 0; i < BUFFER; i++)
        out[i] = scaled_cdf(values[i], 4294967296.0);
}

/* The mutants: streams that must fail. */

static void lcg32(uint64_t first, uint32_t *out)
{
    static uint32_t state = 1;
    (void)first;
    for (size_t i = 0; i < BUFFER; i++)
        out[i] = state = 69069u * state + 1u;
}

static void philox_rounds(const uint32_t key[4], uint64_t block, int rounds, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = key[2], c3 = key[3], k0 = key[0], k1 = key[1];
    for (int r = 0; r < rounds; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

static void philox2(uint64_t first, uint32_t *out)
{
    for (size_t i = 0; i < BUFFER; i += 4)
        philox_rounds(keys[0], (first + i) / 4, 2, out + i);
}

/* The reference for the library's own words: ten rounds, from docs/stream-v1.md. */
static void philox10(const uint32_t key[4], uint64_t first, uint64_t count, uint32_t *out)
{
    uint32_t block[4];
    for (uint64_t i = 0; i < count; i++) {
        if (i == 0 || (first + i) % 4 == 0)
            philox_rounds(key, (first + i) / 4, 10, block);
        out[i] = block[(first + i) % 4];
    }
}

/* Good words, but the normal is the sum of twelve uniforms less six: wrong in the tails. */
static void twelve_sum(uint64_t first, uint32_t *out)
{
    uint32_t drawn[24];
    for (size_t i = 0; i < BUFFER; i++) {
        double sum[2] = {-6.0, -6.0};
        philox10(keys[0], 24 * (first + i), 24, drawn);
        for (int j = 0; j < 24; j++)
            sum[j & 1] += (drawn[j] + 0.5) / 4294967296.0;
        out[i] = scaled_cdf(sum[0], 65536.0) << 16 | scaled_cdf(sum[1], 65536.0);
    }
}

enum need { NOTHING, WORDS, NORMALS };

static const struct {
    const char *name;
    order_function *make;
    enum need need;
} ORDERS[] = {
    {"own", own_order, WORDS},           {"by-word", by_word, WORDS},
    {"by-block", by_block, WORDS},       {"normal-halves", normal_halves, NORMALS},
    {"normal-words", normal_words, NORMALS}, {"lcg32", lcg32, NOTHING},
    {"philox2", philox2, NOTHING},       {"twelve-sum", twelve_sum, NOTHING},
};

/* Setting up. */

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found)
        die("symbol not in the library", name);
    return found;
}

/* The library's words must be those of the definition, here, before hours are spent on them. */
static void check_words(void)
{
    uint32_t got[37], expected[37];
    words(keys[0], 5, 37, got);
    philox10(keys[0], 5, 37, expected);
    if (memcmp(got, expected, sizeof got))
        die("fanwise_words", "other words than Philox4x32-10 of docs/stream-v1.md");
}

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        die("cannot load the library", dlerror());
    *(void **)&words = symbol(library, "fanwise_words");
    *(void **)&normals = symbol(library, "fanwise_normals");
    check_words();
}

static void read_keys(void)
{
    unsigned int k[4];
    while (key_count < MAX_KEYS && scanf("%x %x %x %x", k, k + 1, k + 2, k + 3) == 4) {
        for (int i = 0; i < 4; i++)
            keys[key_count][i] = k[i];
        key_count++;
    }
    if (!key_count || BUFFER % (4 * key_count))
        die("keys", "expected 1, 2, 4, 8, 16, 32 or 64 lines of four hexadecimal words");
}

static void choose_order(const char *name, const char *library)
{
    for (size_t i = 0; i < sizeof ORDERS / sizeof *ORDERS; i++)
        if (!strcmp(ORDERS[i].name, name)) {
            order = ORDERS[i].make;
            if (ORDERS[i].need != NOTHING)
                load(library);
            return;
        }
    die("unknown order", name);
}

/* The generator that TestU01 draws from. */

static uint32_t reverse_bits(uint32_t w)
{
    w = (w >> 1 & 0x55555555u) | (w & 0x55555555u) << 1;
    w = (w >> 2 & 0x33333333u) | (w & 0x33333333u) << 2;
    w = (w >> 4 & 0x0F0F0F0Fu) | (w & 0x0F0F0F0Fu) << 4;
    w = (w >> 8 & 0x00FF00FFu) | (w & 0x00FF00FFu) << 8;
    return w >> 16 | w << 16;
}

static void refill(void)
{
    order(position, buffer);
    position += BUFFER;
    used = 0;
    if (reversed)
        for (size_t i = 0; i < BUFFER; i++)
            buffer[i] = reverse_bits(buffer[i]);
}

static unsigned int next_word(void)
{
    if (used == BUFFER)
        refill();
    return buffer[used++];
}

static void run_battery(const char *battery, int test, unif01_Gen *generator)
{
    int repeat[200] = {0};
    repeat[test] = 1;
    if (!strcmp(battery, "small"))
        bbattery_RepeatSmallCrush(generator, repeat);
    else if (!strcmp(battery, "crush"))
        bbattery_RepeatCrush(generator, repeat);
    else
        die("unknown battery", battery);
}

int quality(int argc, char **argv)
{
    if (argc != 7)
        die("usage", "LIBRARY BATTERY TEST FIRST ORDER REVERSED < keys");
    int test = atoi(argv[3]);
    if (test < 1 || test > 96)
        die("no such test", argv[3]);
    uint64_t start = strtoull(argv[4], NULL, 10) / BUFFER * BUFFER;
    position = start;
    reversed = atoi(argv[6]);
    read_keys();
    choose_order(argv[5], argv[1]);
    swrite_Basic = FALSE;
    unif01_Gen *generator = unif01_CreateExternGenBits("fanwise", next_word);
    run_battery(argv[2], test, generator);
    for (int i = 0; i < bbattery_NTests; i++)
        if (bbattery_pVal[i] >= 0.0)
            printf("p-value\t%.17g\t%s\n", bbattery_pVal[i], bbattery_TestNames[i]);
    printf("words\t%llu\n", (unsigned long long)(position - start));
    fflush(stdout);
    unif01_DeleteExternGenBits(generator);
    return 0;
}

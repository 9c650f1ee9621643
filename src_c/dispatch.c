/* Which kernels this CPU can run. Detection reads cpuid and xgetbv itself: __builtin_cpu_supports always answers 0 in
 * some clang builds, and a CPU feature counts only if the operating system saves its registers. */
#include "fastbp.h"

#include <stddef.h>
#include <string.h>

extern const fbp_table fbp_table_generic;

#if defined(__x86_64__)
#include <cpuid.h>
extern const fbp_table fbp_table_avx2, fbp_table_avx512;

static uint64_t saved_registers(void)
{
    uint32_t eax, edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return ((uint64_t)edx << 32) | eax;
}

static int32_t has_all(uint32_t bits, uint32_t wanted) { return (bits & wanted) == wanted; }

static int32_t has_avx2(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!has_all(c, 1u << 12 | 1u << 27 | 1u << 28)) return 0;          /* fma, osxsave, avx */
    if ((saved_registers() & 0x06) != 0x06) return 0;                   /* xmm, ymm */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return has_all(b, 1u << 5 | 1u << 8);                               /* avx2, bmi2 */
}

static int32_t has_avx512(void)
{
    uint32_t a, b, c, d;
    if (!has_avx2() || (saved_registers() & 0xe6) != 0xe6) return 0;    /* and opmask, zmm */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return has_all(b, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31);       /* f, dq, bw, vl */
}

int32_t fbp_has_bf16(const fbp_table *table)
{
    uint32_t a, b, c, d;
    if (table != &fbp_table_avx512 || !has_avx512()) return 0;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return 0;
    return has_all(a, 1u << 5);                                         /* avx512_bf16 */
}
#else
#if defined(__aarch64__)
extern const fbp_table fbp_table_neon;
#endif

int32_t fbp_has_bf16(const fbp_table *table)
{
    (void)table;
    return 0;
}
#endif

static int32_t always(void) { return 1; }

/* from the plainest to the best */
static const struct { const fbp_table *table; int32_t (*supported)(void); } known[] = {
    {&fbp_table_generic, always},
#if defined(__x86_64__)
    {&fbp_table_avx2, has_avx2},
    {&fbp_table_avx512, has_avx512},
#elif defined(__aarch64__)
    {&fbp_table_neon, always},
#endif
};

const fbp_table *fbp_known_table(int32_t i, int32_t *supported)
{
    if (i < 0 || (size_t)i >= sizeof known / sizeof *known) return NULL;
    *supported = known[i].supported();
    return known[i].table;
}

fbp_status fbp_select_table(const char *name, const fbp_table **table)
{
    const int32_t best = name == NULL || !*name;
    for (int32_t i = (int32_t)(sizeof known / sizeof *known) - 1; i >= 0; i--)
        if ((best || strcmp(name, known[i].table->name) == 0) && known[i].supported()) {
            *table = known[i].table;
            return FBP_OK;
        }
    return FBP_ERROR_ISA;
}

#define FBP_KERNEL(name, args)
#define FBP_OP(name) #name,
#define FBP_OPTIMIZER(name)
static const char *const op_names[] = {
#include "op_list.h"
};
#undef FBP_OP
#undef FBP_OPTIMIZER
#define FBP_OP(name)
#define FBP_OPTIMIZER(name) #name,
static const char *const optimizer_names[] = {
#include "op_list.h"
};

#define FBP_INSTRUCTION(name) #name,
static const char *const instruction_names[] = {
#include "expression_list.h"
};
#undef FBP_INSTRUCTION

static int32_t find(const char *name, const char *const *names, int32_t n)
{
    while (n-- > 0 && strcmp(name, names[n]) != 0) {}
    return n;
}

const char *fbp_phase_name(int32_t i)
{
#define FBP_PHASE(name, over) #name,
    static const char *const names[] = {FBP_PHASES(FBP_PHASE)};
#undef FBP_PHASE
    return i >= 0 && (size_t)i < sizeof names / sizeof *names ? names[i] : NULL;
}

fbp_domain fbp_phase_domain(int32_t i)
{
#define FBP_PHASE(name, over) over,
    static const fbp_domain domains[] = {FBP_PHASES(FBP_PHASE)};
#undef FBP_PHASE
    return domains[i];
}

fbp_entry fbp_phase_entry(const fbp_phases *phases, int32_t i)
{
#define FBP_PHASE(name, over) phases->name,
    const fbp_entry entries[] = {FBP_PHASES(FBP_PHASE)};
#undef FBP_PHASE
    return entries[i];
}

int32_t fbp_find_op(const char *name) { return find(name, op_names, FBP_OP_COUNT); }

int32_t fbp_find_optimizer(const char *name) { return find(name, optimizer_names, FBP_OPTIMIZER_COUNT); }

int32_t fbp_find_instruction(const char *name)
{
    return find(name, instruction_names, (int32_t)(sizeof instruction_names / sizeof *instruction_names));
}

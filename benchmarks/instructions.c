/* A plugin of QEMU 7.2 that counts the AArch64 instructions a guest executes, by class.
 *
 * The guest calls sched_get_priority_max(MARK) where counting starts anew, and with MARK + 1
 * where the counts so far are to be written as a line of OUT (-plugin THIS,out=OUT). Both calls
 * fail with EINVAL and do nothing else; without the plugin they are harmless.
 *
 * Counters are not atomic: the guest should have one thread that computes. QEMU's header is not
 * packaged, so what is used of it is declared here (API version 1).
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
#define SCHED_GET_PRIORITY_MAX 125
#define MARK 0x51AB00u

typedef uint64_t plugin_id;
struct qemu_info_t;
struct qemu_plugin_insn;
struct qemu_plugin_tb;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void translated(plugin_id, struct qemu_plugin_tb *);
typedef void syscalled(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t, uint64_t, uint64_t);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscalled *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *,
                                              uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

EXPORTED int qemu_plugin_version = 1;

/* The first that fits names the class; the encodings are those of the Arm ARM, chapter C4. */
static const struct {
    uint32_t mask, bits;
    const char *name;
} CLASSES[] = {
    {0xBF20FC00, 0x0E20CC00, "fma"}, /* FMLA, FMLS: vectors */
    {0xBF60FC00, 0x0E400C00, "fma"}, /* of half precision */
    {0xBF00B400, 0x0F001000, "fma"}, /* by element */
    {0xFF000000, 0x1F000000, "fma_scalar"},
    {0x9F20FC00, 0x0E009400, "dot"}, /* SDOT, UDOT */
    {0x9F00F400, 0x0F00E000, "dot"},
    {0xDFE0F400, 0x4E80A400, "matrix"},   /* SMMLA, UMMLA */
    {0x9F20DC00, 0x0E208000, "multiply"}, /* SMLAL, SMLSL: int8 or int16 into twice the width */
    {0x9F20FC00, 0x0E20C000, "multiply"}, /* SMULL */
    {0x9F00B400, 0x0F002000, "multiply"},
    {0x9F00F400, 0x0F00A000, "multiply"},
    {0x9F3FFC00, 0x0E206800, "multiply"}, /* SADALP */
    {0x1E000000, 0x04000000, "sve"},
    {0x0E000000, 0x0C000000, "load_store_vector"},
    {0x0A000000, 0x08000000, "load_store"},
    {0x1C000000, 0x14000000, "branch"},
    {0x1C000000, 0x10000000, "integer"},
    {0x0E000000, 0x0A000000, "integer"},
    {0x0E000000, 0x0E000000, "vector_other"},
    {0x00000000, 0x00000000, "other"},
};
enum { N = sizeof CLASSES / sizeof *CLASSES };

static uint64_t counts[N];
static FILE *out;

static int class_of(uint32_t word)
{
    int i = 0;
    while ((word & CLASSES[i].mask) != CLASSES[i].bits)
        i++;
    return i;
}

/* A block is translated once and executed often: it adds what it holds each time. */
static void on_block(plugin_id id, struct qemu_plugin_tb *block)
{
    uint64_t held[N] = {0};
    size_t n = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        held[class_of(word)]++;
    }
    for (int i = 0; i < N; i++)
        if (held[i])
            qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &counts[i],
                                                     held[i]);
}

static void on_syscall(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b,
                       uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != SCHED_GET_PRIORITY_MAX)
        return;
    if (a == MARK) {
        memset(counts, 0, sizeof counts);
    } else if (a == MARK + 1) {
        uint64_t sum = 0;
        for (int i = 0; i < N; i++) { /* encodings of one class follow one another */
            sum += counts[i];
            if (i + 1 < N && !strcmp(CLASSES[i].name, CLASSES[i + 1].name))
                continue;
            fprintf(out, "%s=%" PRIu64 " ", CLASSES[i].name, sum);
            sum = 0;
        }
        fputc('\n', out);
        fflush(out);
    }
}

EXPORTED int qemu_plugin_install(plugin_id id, const struct qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w"))) {
        fprintf(stderr, "instructions: expected out=FILE that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}

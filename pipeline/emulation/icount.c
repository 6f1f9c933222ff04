/* icount.c: a TCG plugin for qemu-user 7.2 (plugin API 1) that counts what a guest executes between marks:
 * instructions, and bytes loaded and stored.
 *
 * The guest makes a mark by closing a file descriptor that cannot exist, close(0x7ace0000 + k). The kernel
 * answers EBADF; nothing else in the guest notices.
 *
 *     k = 1  arm:    instrument the code from here on
 *     k = 0  disarm: run at full speed again
 *     other          append {"k": K, "instructions": N, "load_bytes": N, "store_bytes": N} to the file,
 *                    counted since the previous mark
 *
 * Unarmed code carries no instrumentation, so a worker starts at qemu's usual speed. The counters are plain
 * additions: correct for a guest that runs one thread, which is what is counted.
 *
 * Debian ships no qemu-plugin.h and a fresh machine no libc headers, so what is used of both is declared here,
 * from QEMU 7.2's include/qemu/qemu-plugin.h. Usage: qemu-aarch64 -plugin icount.so,out=FILE ..., or qemu-arm.
 */

#include <stdbool.h>
#include <stddef.h>

typedef unsigned long u64;

/* libc */
int open(const char *path, int flags, ...);
int dprintf(int fd, const char *format, ...);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
enum { O_WRONLY_CREAT_APPEND = 01 | 0100 | 02000 };

/* qemu-plugin.h */
typedef u64 plugin_id;
typedef struct qemu_plugin_tb block;
typedef struct qemu_plugin_insn insn;
typedef unsigned int mem_info;
typedef void simple_cb(plugin_id);
typedef void block_cb(plugin_id, block *);
typedef void mem_cb(unsigned int vcpu, mem_info, u64 address, void *data);
typedef void syscall_cb(plugin_id, unsigned int vcpu, long number, u64, u64, u64, u64, u64, u64, u64, u64);
struct info { const char *target_name; }; /* and more, that is not used */
enum { CB_NO_REGS = 0 };
enum { INLINE_ADD_U64 = 0 };
enum { MEM_READ_WRITE = 3 };
void qemu_plugin_reset(plugin_id, simple_cb *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, block_cb *);
void qemu_plugin_register_vcpu_tb_exec_inline(block *, int op, void *counter, u64 amount);
void qemu_plugin_register_vcpu_mem_cb(insn *, mem_cb *, int flags, int access, void *data);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_cb *);
size_t qemu_plugin_tb_n_insns(const block *);
insn *qemu_plugin_tb_get_insn(const block *, size_t index);
unsigned int qemu_plugin_mem_size_shift(mem_info);
bool qemu_plugin_mem_is_store(mem_info);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { MARK = 0x7ace0000, MARK_BITS = 0xffff, DISARM = 0, ARM = 1 };
enum { SYSCALL_CLOSE_AARCH64 = 57, SYSCALL_CLOSE_ARM = 6 };

static int out;
static long syscall_close;
static u64 instructions, load_bytes, store_bytes;

static void count_access(unsigned int vcpu, mem_info info, u64 address, void *data)
{
    u64 size = 1UL << qemu_plugin_mem_size_shift(info);
    if (qemu_plugin_mem_is_store(info))
        store_bytes += size;
    else
        load_bytes += size;
}

static void instrument(plugin_id id, block *tb)
{
    size_t count = qemu_plugin_tb_n_insns(tb);
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &instructions, count);
    for (size_t i = 0; i < count; i++)
        qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), count_access, CB_NO_REGS,
                                         MEM_READ_WRITE, NULL);
}

static void armed(plugin_id id);
static void disarmed(plugin_id id);

static void on_syscall(plugin_id id, unsigned int vcpu, long number, u64 fd, u64 a2, u64 a3, u64 a4, u64 a5,
                       u64 a6, u64 a7, u64 a8)
{
    /* A descriptor is an int: what is above its 32 bits in a register is not part of it. */
    if (number != syscall_close || ((unsigned int)fd & ~(unsigned int)MARK_BITS) != MARK)
        return;
    unsigned int mark = fd & MARK_BITS;
    if (mark == ARM || mark == DISARM)
        qemu_plugin_reset(id, mark == ARM ? armed : disarmed);
    else
        dprintf(out, "{\"k\": %u, \"instructions\": %lu, \"load_bytes\": %lu, \"store_bytes\": %lu}\n", mark,
                instructions, load_bytes, store_bytes);
    instructions = load_bytes = store_bytes = 0;
}

/* A reset drops all callbacks and every translated block; these put back the ones wanted. */
static void disarmed(plugin_id id)
{
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
}

static void armed(plugin_id id)
{
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_vcpu_tb_trans_cb(id, instrument);
}

EXPORT int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv)
{
    syscall_close = strcmp(info->target_name, "arm") ? SYSCALL_CLOSE_AARCH64 : SYSCALL_CLOSE_ARM;
    const char *path = "/dev/stderr";
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            path = argv[i] + 4;
    out = open(path, O_WRONLY_CREAT_APPEND, 0600);
    if (out < 0)
        return -1;
    disarmed(id);
    return 0;
}

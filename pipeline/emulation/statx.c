/* statx.c: a plugin for qemu-user 7.2 (plugin API 1) that has a guest's statx() look into the guest's root.
 *
 * qemu -L redirects the absolute paths of a guest's calls, but not those of statx, which the C library of 32-bit
 * guests makes of every stat: they would see this machine's files. Where the kernel has no statx, qemu makes an
 * fstatat of it, which is redirected. So qemu's own process is denied statx, by a seccomp filter.
 *
 * Usage: qemu-arm -plugin statx.so ...
 */

/* linux/seccomp.h, linux/filter.h, linux/prctl.h */
struct instruction { unsigned short code; unsigned char on_true, on_false; unsigned int k; };
struct program { unsigned short length; struct instruction *instructions; };
int prctl(int option, ...);
enum { PR_SET_SECCOMP = 22, PR_SET_NO_NEW_PRIVS = 38, SECCOMP_MODE_FILTER = 2 };
enum { LOAD = 0x20, JUMP_EQUAL = 0x15, RETURN = 0x06 };
enum { NUMBER_OF_CALL = 0, ALLOW = 0x7fff0000, FAIL_ENOSYS = 0x00050000 | 38 };
#ifdef __x86_64__
enum { SYSCALL_STATX = 332 };
#else
enum { SYSCALL_STATX = 291 };
#endif

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

EXPORT int qemu_plugin_install(unsigned long id, const void *info, int argc, char **argv)
{
    struct instruction filter[] = {
        {LOAD, 0, 0, NUMBER_OF_CALL},
        {JUMP_EQUAL, 0, 1, SYSCALL_STATX},
        {RETURN, 0, 0, FAIL_ENOSYS},
        {RETURN, 0, 0, ALLOW},
    };
    struct program denied = {4, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL))
        return -1;
    return prctl(PR_SET_SECCOMP, (unsigned long)SECCOMP_MODE_FILTER, &denied, 0UL, 0UL);
}

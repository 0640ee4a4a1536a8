/* Stands between a process and the files under one directory: counts what is written, synced and
 * renamed there, fails the n-th such call, and records all of them for the power-cut tests.
 * Loaded by LD_PRELOAD into a child process; built by faulty_disk.py with the machine's compiler. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FAIL_ONCE, FAIL_ALWAYS, SHORT_WRITE, FAIL_LATE };   /* late: all is written before */
enum { WRITE = 1, SYNC, TRUNCATE, CREATE, RENAME, UNLINK, MARK };

struct record {          /* followed by `name_size` bytes of name and `size` bytes of data */
    uint32_t kind;
    uint32_t durable;    /* WRITE: the descriptor syncs each write. CREATE: it is a directory */
    uint64_t inode;
    uint64_t offset;     /* TRUNCATE: the new size */
    uint32_t name_size;
    uint32_t size;
};

static pthread_mutex_t guard = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[PATH_MAX];
static size_t root_size;
static long countdown;   /* calls until one fails; 0: none will */
static long calls;       /* since fault_arm */
static int hits;         /* calls that failed since fault_arm */
static int fault_error;
static int fault_mode;
static int recording = -1;
static int refuses_aio;
static aio_context_t started_in;   /* where a write under the directory was started; 0: nowhere */
static int64_t started_result;     /* what will be said of it: it is made at once */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long real_syscall(long number, long a, long b, long c, long d, long e) {
    static long (*real)(long, ...);
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real(number, a, b, c, d, e);
}

/* --- what the tests call ---------------------------------------------------------------------- */

void fault_root(const char *path) {
    snprintf(root, sizeof root, "%s/", path);
    root_size = strlen(root);
}

void fault_arm(long n, int error, int mode) {
    countdown = n;
    calls = hits = 0;
    fault_error = error;
    fault_mode = mode;
}

int fault_disarm(void) {
    countdown = 0;
    return hits;
}

long fault_calls(void) { return calls; }

void fault_refuse_aio(void) { refuses_aio = 1; }

static void put(const void *data, size_t size) {
    if (size && real_syscall(SYS_write, recording, (long)data, size, 0, 0) != (long)size)
        abort();
}

static void record(uint32_t kind, int durable, uint64_t inode, uint64_t offset, const char *name,
                   const void *data, size_t size) {
    struct record head = {kind, durable, inode, offset, name ? strlen(name) : 0, size};
    if (recording < 0)
        return;
    put(&head, sizeof head);
    put(name, head.name_size);
    put(data, size);
}

void fault_record(const char *path) {
    recording = real_syscall(SYS_openat, AT_FDCWD, (long)path,
                             O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600, 0);
    if (recording < 0)
        abort();
}

void fault_mark(const char *text) {
    pthread_mutex_lock(&guard);
    record(MARK, 0, 0, 0, text, NULL, 0);
    pthread_mutex_unlock(&guard);
}

/* --- which calls count ------------------------------------------------------------------------ */

static int inside(const char *path) {
    return root_size && strncmp(path, root, root_size) == 0;
}

static int tracked(int fd) {
    char link[64], path[PATH_MAX];
    ssize_t size;
    if (!root_size)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return inside(path);
}

static int fails(void) {
    if (countdown <= 0)
        return 0;
    calls++;
    if (countdown > 1) {
        countdown--;
        return 0;
    }
    if (hits && fault_mode != FAIL_ALWAYS)
        return 0;
    hits++;
    errno = fault_error;
    return 1;
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

static ssize_t write_at(int fd, const struct iovec *parts, int count, off_t offset) {
    static __typeof__(&pwritev64) real;
    ssize_t written;
    if (!real)
        real = REAL(pwritev64);
    if (!tracked(fd))
        return real(fd, parts, count, offset);
    pthread_mutex_lock(&guard);
    if (fails()) {
        written = -1;
        if (fault_mode == SHORT_WRITE) {
            struct iovec half = {parts[0].iov_base, (parts[0].iov_len + 1) / 2};
            written = real(fd, &half, 1, offset);
        } else if (fault_mode == FAIL_LATE) {
            real(fd, parts, count, offset);
            errno = fault_error;
        }
    } else {
        written = real(fd, parts, count, offset);
    }
    if (written > 0 && recording >= 0) {
        int durable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
        ssize_t left = written;
        for (int i = 0; i < count && left > 0; i++) {
            size_t size = parts[i].iov_len < (size_t)left ? parts[i].iov_len : (size_t)left;
            record(WRITE, durable, inode_of(fd), offset, NULL, parts[i].iov_base, size);
            offset += size;
            left -= size;
        }
    }
    pthread_mutex_unlock(&guard);
    return written;
}

/* --- the calls themselves --------------------------------------------------------------------- */

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return write_at(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return write_at(fd, parts, count, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    struct iovec part = {(void *)data, size};
    return write_at(fd, &part, 1, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return pwrite64(fd, data, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t written;
    if (!tracked(fd))
        return REAL(writev)(fd, parts, count);
    written = write_at(fd, parts, count, lseek(fd, 0, SEEK_CUR));
    if (written > 0)
        lseek(fd, written, SEEK_CUR);
    return written;
}

ssize_t write(int fd, const void *data, size_t size) {
    struct iovec part = {(void *)data, size};
    static __typeof__(&write) real;
    if (!real)
        real = REAL(write);
    return tracked(fd) ? writev(fd, &part, 1) : real(fd, data, size);
}

/* Asynchronous writes have no functions of their own. */
long syscall(long number, ...) {
    long a[5];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 5; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_io_setup && refuses_aio) {
        errno = ENOSYS;
        return -1;
    }
    if (number == SYS_io_submit && tracked((*(struct iocb **)a[2])->aio_fildes)) {
        struct iocb *asked = *(struct iocb **)a[2];
        struct iovec part = {(void *)(uintptr_t)asked->aio_buf, asked->aio_nbytes};
        if (started_in || a[1] != 1 || asked->aio_lio_opcode != IOCB_CMD_PWRITE)
            abort();
        started_result = write_at(asked->aio_fildes, &part, 1, asked->aio_offset);
        if (started_result < 0)
            started_result = -errno;
        started_in = a[0];
        return 1;
    }
    if (number == SYS_io_getevents && started_in && (aio_context_t)a[0] == started_in) {
        ((struct io_event *)a[3])->res = started_result;
        started_in = 0;
        return 1;
    }
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4]);
}

#define ON_DESCRIPTOR(kind, size, call)                                  \
    int result;                                                          \
    if (!tracked(fd))                                                    \
        return call;                                                     \
    pthread_mutex_lock(&guard);                                          \
    result = fails() ? -1 : call;                                        \
    if (result == 0)                                                     \
        record(kind, 0, inode_of(fd), size, NULL, NULL, 0);              \
    pthread_mutex_unlock(&guard);                                        \
    return result

int fdatasync(int fd) { ON_DESCRIPTOR(SYNC, 0, REAL(fdatasync)(fd)); }
int fsync(int fd) { ON_DESCRIPTOR(SYNC, 0, REAL(fsync)(fd)); }
int ftruncate(int fd, off_t size) { ON_DESCRIPTOR(TRUNCATE, size, REAL(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { ON_DESCRIPTOR(TRUNCATE, size, REAL(ftruncate64)(fd, size)); }

static int open_file(const char *path, int flags, mode_t mode) {
    int creates = (flags & O_CREAT) && inside(path) && access(path, F_OK) != 0;
    int fd = -1;
    if (!creates)
        return real_syscall(SYS_openat, AT_FDCWD, (long)path, flags, mode, 0);
    pthread_mutex_lock(&guard);
    if (!fails())
        fd = real_syscall(SYS_openat, AT_FDCWD, (long)path, flags, mode, 0);
    if (fd >= 0)
        record(CREATE, 0, inode_of(fd), 0, path, NULL, 0);
    pthread_mutex_unlock(&guard);
    return fd;
}

#define OPEN(name)                                   \
    int name(const char *path, int flags, ...) {     \
        va_list rest;                                \
        mode_t mode;                                 \
        va_start(rest, flags);                       \
        mode = va_arg(rest, mode_t);                 \
        va_end(rest);                                \
        return open_file(path, flags, mode);         \
    }

OPEN(open)
OPEN(open64)

int mkdir(const char *path, mode_t mode) {
    int result = -1;
    struct stat found;
    if (!inside(path))
        return REAL(mkdir)(path, mode);
    if (access(path, F_OK) == 0) {
        errno = EEXIST;
        return -1;
    }
    pthread_mutex_lock(&guard);
    if (!fails())
        result = REAL(mkdir)(path, mode);
    if (result == 0 && stat(path, &found) == 0)
        record(CREATE, 1, found.st_ino, 0, path, NULL, 0);
    pthread_mutex_unlock(&guard);
    return result;
}

int rename(const char *from, const char *to) {
    int result = -1;
    if (!inside(from))
        return REAL(rename)(from, to);
    pthread_mutex_lock(&guard);
    if (!fails())
        result = REAL(rename)(from, to);
    if (result == 0)
        record(RENAME, 0, 0, 0, from, to, strlen(to));
    pthread_mutex_unlock(&guard);
    return result;
}

int unlink(const char *path) {
    int result = -1;
    if (!inside(path) || access(path, F_OK) != 0)
        return REAL(unlink)(path);
    pthread_mutex_lock(&guard);
    if (!fails())
        result = REAL(unlink)(path);
    if (result == 0)
        record(UNLINK, 0, 0, 0, path, NULL, 0);
    pthread_mutex_unlock(&guard);
    return result;
}

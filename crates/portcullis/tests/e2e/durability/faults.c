/* Makes the disk under the record fail, as libfiu does: preloaded into the binary under test.
 *
 * While the file `write` is in the folder PORTCULLIS_TEST_FAULTS, writes to files below a folder called
 * `audit` fail with the error number in it, after a part of them; while `sync` is there, syncs do; while
 * `slow` is there, each sync takes so many milliseconds longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fault(int fd, const char *what) {
    const char *folder = getenv("PORTCULLIS_TEST_FAULTS");
    char link[64], path[4096], number[16];
    int saved = errno, found = 0;
    if (folder == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, what);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t length = read(file, number, sizeof number - 1);
        close(file);
        number[length < 0 ? 0 : length] = 0;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        if (strstr(path, "/audit/") != NULL) found = atoi(number);
    }
    errno = saved;
    return found;
}

/* Of two attempts, the first writes a half: that is what full disks do. */
static __thread int torn;

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "write");
    int error = fault(fd, "write");
    if (error == 0) return real(fd, bytes, count);
    if ((torn = !torn) && count > 1) return real(fd, bytes, count / 2);
    errno = error;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    int error = fault(fd, "write");
    if (error == 0) return real(fd, bytes, count, at);
    if ((torn = !torn) && count > 1) return real(fd, bytes, count / 2, at);
    errno = error;
    return -1;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    int error = fault(fd, "sync");
    usleep(1000 * fault(fd, "slow"));
    if (error == 0) return real(fd);
    errno = error;
    return -1;
}

int fsync(int fd) {
    static int (*real)(int);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    int error = fault(fd, "sync");
    usleep(1000 * fault(fd, "slow"));
    if (error == 0) return real(fd);
    errno = error;
    return -1;
}

/* Preloaded into a process: keeps what has reached the disk after each of its syncs.

   Of every file below $SYNC_ROOT the content at its last fsync, fdatasync or msync is copied to
   $SYNC_KEPT/<number>/<inode>, and next to it stands a list of the names below $SYNC_ROOT at that
   moment. That is the least that a journaling file system (ext4, xfs) promises after a power cut:
   a sync brings the names along that were changed before it, and nothing of the content of files
   that were not synced themselves. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static __thread int recording;
static FILE *names;
static const char *root_of_names;

static int note_name(const char *path, const struct stat *at, int kind, struct FTW *depth) {
    (void)depth;
    fprintf(names, "%c %llu %s\n", kind == FTW_D ? 'd' : 'f', (unsigned long long)at->st_ino,
            path + strlen(root_of_names));
    return 0;
}

/* Stores preallocate: blocks of zeros become holes, or a record of seconds would fill a disk. */
static void copy(int from, const char *to) {
    static const char zeros[1 << 16];
    char block[1 << 16];
    off_t place = 0;
    ssize_t got;
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (out < 0) abort();
    while ((got = pread(from, block, sizeof block, place)) > 0) {
        if (memcmp(block, zeros, got) && pwrite(out, block, got, place) != got) abort();
        place += got;
    }
    if (ftruncate(out, place)) abort();
    close(out);
}

static void keep(const char *path) {
    const char *root = getenv("SYNC_ROOT"), *kept = getenv("SYNC_KEPT");
    if (!root || !kept || recording || strncmp(path, root, strlen(root))) return;
    recording = 1;
    char text[4096];
    snprintf(text, sizeof text, "%s/lock", kept);
    int lock = open(text, O_RDWR | O_CREAT, 0644);
    flock(lock, LOCK_EX);
    long number = 0;
    if (pread(lock, &number, sizeof number, 0) < 0) abort();
    number++;
    snprintf(text, sizeof text, "%s/%06ld", kept, number);
    mkdir(text, 0755);
    struct stat at;
    int file = open(path, O_RDONLY);
    if (file >= 0) {
        if (!fstat(file, &at) && S_ISREG(at.st_mode)) {
            snprintf(text, sizeof text, "%s/%06ld/%llu", kept, number,
                     (unsigned long long)at.st_ino);
            copy(file, text);
        }
        close(file);
    }
    snprintf(text, sizeof text, "%s/%06ld/names", kept, number);
    names = fopen(text, "w");
    root_of_names = root;
    nftw(root, note_name, 32, FTW_PHYS);
    fclose(names);
    if (pwrite(lock, &number, sizeof number, 0) < 0) abort();
    close(lock);
    recording = 0;
}

static void keep_descriptor(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        keep(path);
    }
}

int fsync(int descriptor) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    int result = real(descriptor);
    if (!result) keep_descriptor(descriptor);
    return result;
}

int fdatasync(int descriptor) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int result = real(descriptor);
    if (!result) keep_descriptor(descriptor);
    return result;
}

int msync(void *address, size_t length, int flags) {
    int (*real)(void *, size_t, int) = dlsym(RTLD_NEXT, "msync");
    int result = real(address, length, flags);
    if (result || !(flags & MS_SYNC) || recording) return result;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4608], path[4096];
    unsigned long long begin, end;
    while (maps && fgets(line, sizeof line, maps)) {
        path[0] = 0;
        if (sscanf(line, "%llx-%llx %*s %*s %*s %*s %4095[^\n]", &begin, &end, path) == 3 &&
            (unsigned long long)address >= begin && (unsigned long long)address < end) {
            keep(path);
            break;
        }
    }
    if (maps) fclose(maps);
    return result;
}

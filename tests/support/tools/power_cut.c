/*
 * Remembers what a power cut would leave. Preloaded into the relay, it copies each file of one folder at each fsync or
 * fdatasync of it, and the folder's list of names at each fsync of the folder, before the call returns. Environment:
 * POWER_CUT_WATCH, the folder; POWER_CUT_SHADOW, where the copies go: `inode-<number>` and `names`.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*sync_call)(int);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char *what, const char *path) {
  fprintf(stderr, "power_cut: cannot %s %s\n", what, path);
  abort();
}

/* Writes a file under another name first: a kill in between leaves the copy before it. */
static void commit_copy(const char *name, int from, const char *text) {
  const char *shadow = getenv("POWER_CUT_SHADOW");
  char path[4096], draft[4096 + 8];
  snprintf(path, sizeof path, "%s/%s", shadow, name);
  snprintf(draft, sizeof draft, "%s.new", path);
  int to = open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (to < 0) fail("create", draft);
  if (text != NULL) {
    if (write(to, text, strlen(text)) != (ssize_t)strlen(text)) fail("write", draft);
  } else {
    static char buffer[1 << 16];
    off_t at = 0;
    for (;;) {
      ssize_t count = pread(from, buffer, sizeof buffer, at);
      if (count < 0) fail("read for", draft);
      if (count == 0) break;
      if (write(to, buffer, (size_t)count) != count) fail("write", draft);
      at += count;
    }
  }
  close(to);
  if (rename(draft, path) != 0) fail("rename", draft);
}

static void list_names(const char *folder) {
  static char text[1 << 20];
  size_t used = 0;
  DIR *dir = opendir(folder);
  if (dir == NULL) fail("list", folder);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (entry->d_type != DT_REG) continue;
    used += (size_t)snprintf(text + used, sizeof text - used, "%ju %s\n", (uintmax_t)entry->d_ino, entry->d_name);
    if (used >= sizeof text) fail("list all of", folder);
  }
  text[used] = 0;
  closedir(dir);
  commit_copy("names", -1, text);
}

/* What is on the disk now that `fd` has been synced. */
static void remember(int fd) {
  const char *watch = getenv("POWER_CUT_WATCH");
  struct stat status;
  char link[64], path[4096], name[64];
  if (watch == NULL || fstat(fd, &status) != 0) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = 0;
  size_t folder = strlen(watch);
  pthread_mutex_lock(&lock);
  if (S_ISDIR(status.st_mode) && strcmp(path, watch) == 0) {
    list_names(watch);
  } else if (S_ISREG(status.st_mode) && strncmp(path, watch, folder) == 0 && path[folder] == '/') {
    /* Read through the same descriptor: closing another one would drop SQLite's locks on the file. */
    snprintf(name, sizeof name, "inode-%ju", (uintmax_t)status.st_ino);
    commit_copy(name, fd, NULL);
  }
  pthread_mutex_unlock(&lock);
}

static int synced(const char *name, int fd) {
  int result = ((sync_call)dlsym(RTLD_NEXT, name))(fd);
  if (result == 0) remember(fd);
  return result;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

/* The cheapest client in C: forces are the positions, as they came. What it takes, nobody can undercut.
 *
 *     echo unix|shm PATH        echo tcp PORT
 */
#define _GNU_SOURCE
#include "wire.h"

static int connect_to(const char *transport, const char *address) {
    int fd, failed;
    if (strcmp(transport, "tcp") == 0) {
        struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(address)),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        fd = socket(AF_INET, SOCK_STREAM, 0);
        no_delay(fd);
        failed = connect(fd, (void *)&server, sizeof server);
    } else {
        struct sockaddr_un server = unix_address(address);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        failed = connect(fd, (void *)&server, sizeof server);
    }
    if (failed) fail("cannot connect to %s", address);
    return fd;
}

/* The next n bytes of the stream; whatever has arrived is taken in one system call. NULL when the server has gone. */
static char *take(int fd, size_t n) {
    static char *buffer;
    static size_t capacity, start, end;
    if (end - start < n) {
        memmove(buffer, buffer + start, end - start);
        end -= start;
        start = 0;
        if (capacity < n + 4096) buffer = realloc(buffer, capacity = n + 4096);
    }
    while (end - start < n) {
        ssize_t got = recv(fd, buffer + end, capacity - end, 0);
        if (got <= 0) return NULL;
        end += got;
    }
    start += n;
    return buffer + start - n;
}

static void *need(int fd, size_t n) {
    void *bytes = take(fd, n);
    if (!bytes) fail("the server has gone in the middle of a message");
    return bytes;
}

static int need_int(int fd) {
    int value;
    memcpy(&value, need(fd, 4), 4);
    return value;
}

static int need_text(int fd, char *text, int room) {
    int length = need_int(fd);
    if (length < 0 || length >= room) fail("a text of %d bytes", length);
    memcpy(text, need(fd, length), length);
    text[length] = 0;
    return length;
}

/* INIT: the only thing of interest is the size of the batch. */
static int read_batch(int fd) {
    char text[4096];
    need(fd, 4);
    need_text(fd, text, sizeof text);
    char *token = strstr(text, "batch_size:");
    return token ? atoi(token + strlen("batch_size:")) : 1;
}

static void attach(int fd, int atoms, int batch, double *segment[SEGMENTS]) {
    for (int kind = 0; kind < SEGMENTS; kind++) {
        char name[256] = "/";
        need_text(fd, name + 1, sizeof name - 1);
        int memory = shm_open(name, O_RDWR, 0);
        if (memory < 0) fail("there is no shared memory %s", name);
        segment[kind] = mmap(NULL, segment_size(kind, atoms, batch), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        close(memory);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) fail("usage: echo unix|shm PATH, echo tcp PORT");
    int fd = connect_to(argv[1], argv[2]), shared = strcmp(argv[1], "shm") == 0, batch = 0;
    double *segment[SEGMENTS] = {NULL}, *zeros = NULL;

    for (char *word; (word = take(fd, HEADER)) && memcmp(word, "EXIT", 4);) {
        if (memcmp(word, "STATUS", 6) == 0) {
            write_header(fd, batch ? "READY       " : "NEEDINIT    ");
        } else if (memcmp(word, "INIT", 4) == 0) {
            batch = read_batch(fd);
            zeros = calloc(10 * batch, sizeof *zeros);   /* energies, virials, lengths of the extras */
        } else if (memcmp(word, "POSDATA", 7) == 0 && shared) {
            int atoms = need_int(fd);
            if (!segment[POS]) attach(fd, atoms, batch, segment);
            need(fd, HEADER);                            /* GETFORCE */
            memcpy(segment[FORCE], segment[POS], segment_size(FORCE, atoms, batch));
            memcpy(segment[POT], zeros, 8 * batch);
            memcpy(segment[VIR], zeros, 72 * batch);
            struct iovec parts[] = {{"FORCEREADY  ", HEADER}, {zeros, 4 * batch}};
            write_all(fd, parts, 2);
        } else if (memcmp(word, "POSDATA", 7) == 0) {
            /* A single structure has its cell before the number of atoms, a batch has its cells behind it. */
            if (batch == 1) need(fd, 144);
            int atoms = need_int(fd);
            size_t cells = batch == 1 ? 0 : (size_t)144 * batch, positions = (size_t)24 * atoms * batch;
            char *body = need(fd, cells + positions + HEADER);   /* with GETFORCE */
            struct iovec parts[] = {{"FORCEREADY  ", HEADER}, {zeros, 8 * batch}, {&atoms, 4},
                                    {body + cells, positions}, {zeros, 76 * batch}};
            write_all(fd, parts, 5);
        } else {
            fail("unknown header %.12s", word);
        }
    }
    close(fd);
    return 0;
}

/* A server that does what i-PI does with its messages consolidated, and nothing else: it measures its clients.
 *
 *     stopwatch unix|tcp|shm PREFIX CLIENTS ATOMS BATCH ROUNDS BLOCK
 *
 * Every client has its own address: PREFIX0, PREFIX1, ... (unix, shm) or a port that the kernel chooses. The addresses
 * are printed, one a line; when all clients are there, they are measured in turn, ROUNDS times, BLOCK evaluations each
 * (or as many as fit into half a second).
 * An evaluation is: POSDATA and GETFORCE in one send, the whole reply, STATUS and its answer. With shared memory the
 * clock starts when the positions are in the segment and stops before the forces are looked at; i-PI's own copies
 * are the same for every client. Printed for each block: client, round, median and minimum in microseconds; "client
 * round failed" when a client has gone, is silent for ten seconds, or says something wrong.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

static int atoms, batch, shared;
static char *request, *reply;
static size_t request_size, reply_size;

typedef struct {
    int fd, alive, needs_init;
    double *segment[SEGMENTS];
    char name[SEGMENTS][64];
    int attached;
} Client;

/* Reads exactly n bytes; 0 when the peer is gone, has failed or stays silent beyond the socket's time-out. */
static int read_all(int fd, void *data, size_t n) {
    for (char *at = data; n > 0;) {
        ssize_t got = recv(fd, at, n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        at += got;
        n -= got;
    }
    return 1;
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * t.tv_sec + 1e-3 * t.tv_nsec;
}

static char *put(char *at, const void *data, size_t n) {
    memcpy(at, data, n);
    return at + n;
}

/* Some atoms in a large box: positions differ, so that an echo can be told from silence. */
static void fill(double *pos, double *h, double *ih) {
    for (int i = 0; i < 3 * atoms * batch; i++) pos[i] = 0.25 * (i % 97);
    for (int i = 0; i < 9 * batch; i++) {
        h[i] = i % 9 % 4 == 0 ? 40.0 : 0.0;
        ih[i] = i % 9 % 4 == 0 ? 1 / 40.0 : 0.0;
    }
}

static void build_request(void) {
    size_t doubles = (size_t)batch * (3 * atoms + 18);
    double *pos = malloc(segment_size(POS, atoms, batch)), *h = malloc(72 * batch), *ih = malloc(72 * batch);
    fill(pos, h, ih);
    request = malloc(2 * HEADER + 4 + 8 * doubles);
    char *at = put(request, "POSDATA     ", HEADER);
    if (shared) {
        at = put(at, &atoms, 4);
    } else if (batch == 1) {
        at = put(at, h, 72);
        at = put(at, ih, 72);
        at = put(at, &atoms, 4);
        at = put(at, pos, 24 * atoms);
    } else {
        at = put(at, &atoms, 4);
        for (int b = 0; b < batch; b++) {
            at = put(at, h + 9 * b, 72);
            at = put(at, ih + 9 * b, 72);
        }
        at = put(at, pos, (size_t)24 * atoms * batch);
    }
    at = put(at, "GETFORCE    ", HEADER);
    request_size = at - request;
    reply_size = HEADER + (shared ? 0 : 4 + 8 * (size_t)batch * (1 + 3 * atoms + 9));
    reply = malloc(reply_size);
    free(pos), free(h), free(ih);
}

static int ask_status(Client *client) {
    char word[HEADER];
    if (!write_header(client->fd, "STATUS      ") || !read_all(client->fd, word, HEADER)) return 0;
    client->needs_init = memcmp(word, "NEEDINIT", 8) == 0;
    return client->needs_init || memcmp(word, "READY", 5) == 0;
}

static int initialise(Client *client) {
    char text[64], message[128];
    int id = 0, length = batch > 1 ? sprintf(text, " batch_size:%d", batch) : sprintf(text, " ");
    char *at = put(put(put(put(message, "INIT        ", HEADER), &id, 4), &length, 4), text, length);
    struct iovec part = {message, at - message};
    return write_all(client->fd, &part, 1) && ask_status(client) && !client->needs_init;
}

static void create_segments(Client *client, int number) {
    for (int kind = 0; kind < SEGMENTS; kind++) {
        size_t size = segment_size(kind, atoms, batch);
        char path[80];
        sprintf(client->name[kind], "fsbench_%d_%d_%s", getpid(), number, segment_kind[kind]);
        sprintf(path, "/%s", client->name[kind]);
        int fd = shm_open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
        if (fd < 0 || ftruncate(fd, size)) fail("cannot create the shared memory %s", path);
        client->segment[kind] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
}

static void remove_segments(Client *client) {
    for (int kind = 0; kind < SEGMENTS; kind++) {
        char path[80];
        sprintf(path, "/%s", client->name[kind]);
        shm_unlink(path);
    }
}

/* The first request over shared memory carries the names of the segments. */
static int send_request(Client *client) {
    if (!shared || client->attached) {
        struct iovec part = {request, request_size};
        return write_all(client->fd, &part, 1);
    }
    char message[1024], *at = put(message, request, HEADER + 4);
    for (int kind = 0; kind < SEGMENTS; kind++) {
        int length = strlen(client->name[kind]);
        at = put(put(at, &length, 4), client->name[kind], length);
    }
    at = put(at, "GETFORCE    ", HEADER);
    struct iovec part = {message, at - message};
    client->attached = 1;
    return write_all(client->fd, &part, 1);
}

static int read_extras(Client *client) {
    for (int b = 0; b < batch; b++) {
        char text[4096];
        int length;
        if (!read_all(client->fd, &length, 4) || length < 0 || length > (int)sizeof text) return 0;
        if (length > 0 && !read_all(client->fd, text, length)) return 0;
    }
    return 1;
}

/* One evaluation in microseconds; negative when the client failed. */
static double evaluate(Client *client) {
    if (client->needs_init && !initialise(client)) return -1;
    if (shared) fill(client->segment[POS], client->segment[CELL], client->segment[ICELL]);
    double start = now_us();
    if (!send_request(client) || !read_all(client->fd, reply, reply_size) || !read_extras(client)) return -1;
    if (!ask_status(client)) return -1;
    double time = now_us() - start;
    int n = shared ? atoms : *(int32_t *)(reply + HEADER + 8 * batch);
    if (memcmp(reply, "FORCEREADY  ", HEADER) || n != atoms) return -1;
    double energies = 0, *energy = shared ? client->segment[POT] : (double *)(reply + HEADER);
    for (int b = 0; b < batch; b++) energies += energy[b];
    for (size_t i = 0; shared && i < (size_t)3 * atoms * batch; i++) energies += 0 * client->segment[FORCE][i];
    return energies == 0 ? time : -1;
}

static int listen_at(const char *transport, const char *prefix, int number) {
    int fd;
    if (strcmp(transport, "tcp") == 0) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        fd = socket(AF_INET, SOCK_STREAM, 0);
        no_delay(fd);
        if (bind(fd, (void *)&address, size) || listen(fd, 1)) fail("cannot listen on TCP");
        getsockname(fd, (void *)&address, &size);
        printf("%d\n", ntohs(address.sin_port));
    } else {
        char path[256];
        snprintf(path, sizeof path, "%s%d", prefix, number);
        struct sockaddr_un address = unix_address(path);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(fd, (void *)&address, sizeof address) || listen(fd, 1)) fail("cannot listen on %s", path);
        printf("%s\n", path);
    }
    return fd;
}

static int wait_for_client(int listener) {
    struct pollfd waiting = {.fd = listener, .events = POLLIN};
    if (poll(&waiting, 1, 30000) <= 0) return -1;
    int fd = accept(listener, NULL, NULL);
    struct timeval timeout = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    return fd;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(Client *client, int number, int round, int block, double *times) {
    int done = 0;
    for (double end = now_us() + 5e5; client->alive && done < block && (done < 3 || now_us() < end); done++)
        client->alive = (times[done] = evaluate(client)) >= 0;
    if (client->alive) {
        qsort(times, done, sizeof *times, ascending);
        printf("%d %d %.3f %.3f\n", number, round, times[done / 2], times[0]);
    } else {
        printf("%d %d failed\n", number, round);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 8) fail("usage: stopwatch unix|tcp|shm PREFIX CLIENTS ATOMS BATCH ROUNDS BLOCK");
    const char *transport = argv[1], *prefix = argv[2];
    int count = atoi(argv[3]), rounds = atoi(argv[6]), block = atoi(argv[7]);
    atoms = atoi(argv[4]);
    batch = atoi(argv[5]);
    shared = strcmp(transport, "shm") == 0;
    signal(SIGPIPE, SIG_IGN);
    build_request();

    int *listener = malloc(count * sizeof *listener);
    double *times = malloc(block * sizeof *times);
    Client *clients = calloc(count, sizeof *clients);
    for (int k = 0; k < count; k++) listener[k] = listen_at(transport, prefix, k);
    fflush(stdout);
    for (int k = 0; k < count; k++) {
        clients[k].fd = wait_for_client(listener[k]);
        if (shared) create_segments(&clients[k], k);
        clients[k].alive = clients[k].fd >= 0 && ask_status(&clients[k]);
    }
    for (int round = 0; round < rounds; round++)
        for (int k = 0; k < count; k++) measure(&clients[k], k, round, block, times);
    for (int k = 0; k < count; k++) {
        if (clients[k].fd >= 0) write_header(clients[k].fd, "EXIT        ");
        if (shared) remove_segments(&clients[k]);
        char path[256];
        snprintf(path, sizeof path, "%s%d", prefix, k);
        if (strcmp(transport, "tcp") != 0) unlink(path);
    }
    return 0;
}

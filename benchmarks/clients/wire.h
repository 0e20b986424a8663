/* The bytes of the i-PI protocol, as little of them as a stopwatch and an echo need. */
#ifndef WIRE_H
#define WIRE_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { HEADER = 12 };
enum { POS, CELL, ICELL, POT, FORCE, VIR, SEGMENTS };   /* the order in which i-PI names its segments */

static const char *const segment_kind[SEGMENTS] = {"pos", "h", "ih", "pot", "force", "vir"};

static void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static size_t segment_size(int kind, int atoms, int batch) {
    const int doubles[SEGMENTS] = {3 * atoms, 9, 9, 1, 3 * atoms, 9};
    return sizeof(double) * (size_t)batch * doubles[kind];
}

static struct sockaddr_un unix_address(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) fail("the socket path %s is too long", path);
    strcpy(address.sun_path, path);
    return address;
}

static void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Writes all of the parts, in one system call if the socket takes them. */
static int write_all(int fd, struct iovec *parts, int count) {
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return 0;
        while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= sent;
        }
    }
    return 1;
}

static int write_header(int fd, const char *word) {
    struct iovec part = {(void *)word, HEADER};
    return write_all(fd, &part, 1);
}

#endif

/* The C limit of the benchmarks `http`, `net` and `dns`: what the kernel's own work leaves to be
 * won. One thread, epoll, nothing done that the case does not need.
 *
 *   cc -O2 -std=c11 server.c -o server
 *   ./server http [FILE]     every request gets `hello`, or what the file holds at that moment
 *   ./server tcp             what comes is sent back
 *   ./server udp             every question gets one A record
 *
 * Prints {"port"} and serves on 127.0.0.1 until it is killed.
 *
 * The repository only; nothing of this is in the published package.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE (1 << 20)
#define BATCH 64
#define DATAGRAM_SIZE 2048

static char buffer[BUFFER_SIZE];
static char answer[65536];
static const char* file;

/* What could not be sent at once, by descriptor; only the echo of large messages has such. */
#define FD_MAX 65536
static struct rest {
  char* bytes;
  size_t at, size;
} rests[FD_MAX];

static void fail(const char* what) {
  fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void flush(int fd) {
  struct rest* const rest = &rests[fd];
  while (rest->at < rest->size) {
    ssize_t const n =
        send(fd, rest->bytes + rest->at, rest->size - rest->at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n <= 0) return;
    rest->at += (size_t)n;
  }
  rest->at = rest->size = 0;
}

static void send_all(int fd, const char* bytes, size_t size) {
  struct rest* const rest = &rests[fd];
  size_t sent = 0;
  if (rest->size == 0) {
    ssize_t const n = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) sent = (size_t)n;
    if (sent == size) return;
  }
  if (rest->bytes == NULL) rest->bytes = malloc(4 * BUFFER_SIZE);
  if (rest->bytes == NULL || rest->size + size - sent > 4 * BUFFER_SIZE) fail("too much unsent");
  memcpy(rest->bytes + rest->size, bytes + sent, size - sent);
  rest->size += size - sent;
}

static size_t make_answer(int last) {
  static const char plain[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
  const char* const more = last ? "Connection: close\r\n" : "";
  char body[32768] = "hello";
  ssize_t size = 5;
  if (file != NULL) {
    int const fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail(file);
    size = read(fd, body, sizeof body);
    if (size < 0) fail(file);
    close(fd);
  }
  int const head = snprintf(answer, sizeof answer, "%s%sContent-Length: %zd\r\n\r\n", plain, more,
                            size);
  memcpy(answer + head, body, (size_t)size);
  return (size_t)head + (size_t)size;
}

/* As many answers as there are ends of heads; a head is taken to come whole. 0: the last one, for
 * the client wants no more of them. */
static int answer_http(int fd, size_t size) {
  static size_t ready;
  int const last = memmem(buffer, size, "Connection: close", 17) != NULL;
  for (size_t i = 3; i < size; i++) {
    if (memcmp(buffer + i - 3, "\r\n\r\n", 4) != 0) continue;
    if (file != NULL || ready == 0) ready = make_answer(last);
    send_all(fd, answer, ready);
  }
  return !last;
}

static void serve_streams(int listener, int http) {
  int const epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) fail("epoll");
  struct epoll_event events[256];
  for (;;) {
    int const n = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < n; i++) {
      int const fd = events[i].data.fd;
      if (fd == listener) {
        int const accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (accepted < 0) continue;
        if (accepted >= FD_MAX) fail("too many connections");
        int on = 1;
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        rests[accepted].at = rests[accepted].size = 0;
        event.events = EPOLLIN | EPOLLOUT | EPOLLET;
        event.data.fd = accepted;
        epoll_ctl(epoll, EPOLL_CTL_ADD, accepted, &event);
        continue;
      }
      if (rests[fd].size != 0) flush(fd);
      if (!(events[i].events & ~(unsigned)EPOLLOUT)) continue;
      for (;;) {
        ssize_t const size = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (size <= 0) {
          if (size == 0 || (errno != EAGAIN && errno != EINTR)) close(fd);
          break;
        }
        if (http && !answer_http(fd, (size_t)size) && rests[fd].size == 0) {
          close(fd);
          break;
        }
        if (!http) send_all(fd, buffer, (size_t)size);
        if ((size_t)size < sizeof buffer) break;
      }
    }
  }
}

/* The question, and one A record that points back at its name (RFC 1035 4.1.4). */
static size_t answer_dns(char* message, size_t size) {
  static const char record[16] = {(char)0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1};
  if (size < 12 || size + sizeof record > DATAGRAM_SIZE) return 0;
  message[2] = (char)0x81;
  message[3] = (char)0x80;
  message[7] = 1;
  memcpy(message + size, record, sizeof record);
  return size + sizeof record;
}

static void serve_datagrams(int fd) {
  static char messages[BATCH][DATAGRAM_SIZE];
  static struct sockaddr_in names[BATCH];
  static struct iovec pieces[BATCH];
  static struct mmsghdr headers[BATCH];
  for (;;) {
    for (int i = 0; i < BATCH; i++) {
      pieces[i] = (struct iovec){messages[i], DATAGRAM_SIZE};
      headers[i].msg_hdr = (struct msghdr){.msg_name = &names[i],
                                           .msg_namelen = sizeof names[i],
                                           .msg_iov = &pieces[i],
                                           .msg_iovlen = 1};
    }
    int const n = recvmmsg(fd, headers, BATCH, MSG_WAITFORONE, NULL);
    if (n <= 0) continue;
    for (int i = 0; i < n; i++) pieces[i].iov_len = answer_dns(messages[i], headers[i].msg_len);
    for (int sent = 0; sent < n;) {
      int const more = sendmmsg(fd, headers + sent, (unsigned)(n - sent), 0);
      if (more <= 0) break;
      sent += more;
    }
  }
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  int const udp = strcmp(argv[1], "udp") == 0;
  if (argc > 2) file = argv[2];
  signal(SIGUSR2, SIG_IGN); /* to others: collect garbage */
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  int const fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
  struct sockaddr_in name = {.sin_family = AF_INET};
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof name;
  if (fd < 0 || bind(fd, (struct sockaddr*)&name, length) != 0) fail("bind");
  if (!udp && listen(fd, 4096) != 0) fail("listen");
  if (getsockname(fd, (struct sockaddr*)&name, &length) != 0) fail("getsockname");
  printf("{\"port\":%d}\n", ntohs(name.sin_port));
  fflush(stdout);
  if (udp) serve_datagrams(fd);
  else serve_streams(fd, strcmp(argv[1], "http") == 0);
  return 0;
}

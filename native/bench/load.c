/* The load of the benchmarks `http`, `net` and `dns`: a closed loop over a number of connections,
 * one request in flight on each, in one thread.
 *
 *   cc -O2 -std=c11 load.c -o load
 *   ./load http PORT CONNECTIONS SECONDS PATH [RATE]    GET PATH, keep-alive
 *   ./load tcp PORT CONNECTIONS SECONDS BYTES [RATE]    sends BYTES, waits for as many
 *   ./load udp PORT CONNECTIONS SECONDS NAME            asks for the A record of NAME
 *   ./load http|tcp PORT CONNECTIONS idle PATH|BYTES    one exchange each, then silence
 *
 * RATE: requests a second, at moments fixed in advance. A request's time counts from the moment it
 * was due, so that a server that stalls is not asked less often for it.
 *
 * Every answer is checked: its status and length, its bytes (each connection has its own), its id.
 * Prints one JSON line: {"requests", "seconds", "p50", "p99", "p999" (microseconds), "lost"};
 * idle: {"idle"} once all are open, and keeps them until its input ends.
 *
 * The repository only; nothing of this is in the published package.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 65536
/* Of one address of ours: well below the number of ephemeral ports. */
#define PER_ADDRESS 8192
/* Opened at a time when many idle ones are wanted: below any backlog. */
#define IDLE_BATCH 64
#define MESSAGE_MAX (1 << 20)
#define LATENCY_US_MAX 1000000
/* A datagram that is not answered by then was lost. */
#define LOST_NS 500000000u

enum mode { HTTP, TCP, UDP };

struct connection {
  int fd;
  uint8_t mark;      /* tcp: its own byte; udp: the id's lower half */
  uint64_t began;    /* of the request in flight, ns; at a fixed rate: when it was due */
  int waits;         /* at a fixed rate: for `began` to come */
  size_t sent;       /* of it */
  size_t received;   /* of its answer */
  size_t expected;   /* length of the answer; 0: not known yet */
  char head[4096];   /* http: its beginning */
};

static enum mode mode;
static struct connection connections[CONNECTIONS_MAX];
static char request[MESSAGE_MAX];
static size_t request_size;
static uint32_t latencies[LATENCY_US_MAX + 1];
static uint64_t requests, lost;
static int idle;
/* At a fixed rate: between two requests of one connection, ns; 0: as soon as it is answered. */
static uint64_t interval;
static char scratch[MESSAGE_MAX];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char* what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void wrong(const char* what) {
  fprintf(stderr, "load: a wrong answer: %s\n", what);
  exit(1);
}

/* From 127.0.0.1, 127.0.0.2, …: each address has ports of its own. */
static void open_connection(struct connection* c, uint16_t port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in from = {.sin_family = AF_INET};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(c - connections) / PER_ADDRESS);
  c->fd = socket(AF_INET, mode == UDP ? SOCK_DGRAM : SOCK_STREAM, 0);
  if (c->fd < 0) fail("socket");
  int const late = 1;
  setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
  if (bind(c->fd, (struct sockaddr*)&from, sizeof from) != 0) fail("bind");
  if (connect(c->fd, (struct sockaddr*)&to, sizeof to) != 0) fail("connect");
  int on = 1;
  if (mode != UDP) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* What is left of the request; what does not fit now goes when there is room. */
static void send_rest(struct connection* c) {
  while (c->sent < request_size) {
    const char* from = request + c->sent;
    if (mode == TCP) {
      memset(scratch, c->mark, request_size - c->sent);
      from = scratch;
    } else if (mode == UDP) {
      request[1] = (char)c->mark;
    }
    ssize_t const n = send(c->fd, from, request_size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) fail("send");
    c->sent += (size_t)n;
  }
}

static void begin_at(struct connection* c, uint64_t began) {
  c->began = began;
  c->sent = c->received = 0;
  c->expected = mode == TCP ? request_size : 0;
  send_rest(c);
}

static void begin(struct connection* c) { begin_at(c, now_ns()); }

/* The next one at its time, which may have passed already. */
static void begin_when_due(struct connection* c, uint64_t now) {
  c->waits = now < c->began;
  if (!c->waits) begin_at(c, c->began);
}

static void done(struct connection* c) {
  uint64_t const now = now_ns();
  uint64_t const us = (now - c->began) / 1000;
  latencies[us < LATENCY_US_MAX ? us : LATENCY_US_MAX]++;
  requests++;
  if (idle) return;
  if (interval == 0) return begin_at(c, now);
  c->began += interval;
  begin_when_due(c, now);
}

/* The head is complete: how long the whole answer is. Chunked: until the last chunk. */
static void read_head(struct connection* c, size_t have) {
  c->head[have] = 0;
  char* const end = strstr(c->head, "\r\n\r\n");
  if (end == NULL) {
    if (have >= sizeof c->head - 1) wrong("a head without end");
    return;
  }
  if (strncmp(c->head, "HTTP/1.1 200", 12) != 0) wrong(c->head);
  char* const length = strcasestr(c->head, "\r\ncontent-length:");
  if (length != NULL && length < end)
    c->expected = (size_t)(end + 4 - c->head) + strtoul(length + 17, NULL, 10);
}

static void received_http(struct connection* c, const char* bytes, size_t size) {
  if (c->expected == 0) {
    size_t const room = sizeof c->head - 1 - c->received % sizeof c->head;
    if (c->received < sizeof c->head - 1) {
      size_t const take = size < room ? size : room;
      memcpy(c->head + c->received, bytes, take);
      read_head(c, c->received + take);
    }
  }
  c->received += size;
  if (c->expected == 0 && c->received > 7 && size >= 5) {
    if (memcmp(bytes + size - 5, "0\r\n\r\n", 5) == 0 && strcasestr(c->head, "chunked") != NULL)
      c->expected = c->received;
  }
  if (c->expected != 0 && c->received > c->expected) wrong("more than it said");
}

static void readable(struct connection* c) {
  for (;;) {
    ssize_t const n = recv(c->fd, scratch, sizeof scratch, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) fail("recv");
    if (n == 0) wrong("the end of the connection");
    size_t const size = (size_t)n;
    if (mode == HTTP) {
      received_http(c, scratch, size);
    } else if (mode == TCP) {
      if ((uint8_t)scratch[0] != c->mark || (uint8_t)scratch[size - 1] != c->mark)
        wrong("bytes of another connection");
      c->received += size;
      if (c->received > c->expected) wrong("more than was sent");
    } else {
      if (size < 12 || (uint8_t)scratch[1] != c->mark || !(scratch[2] & 0x80) || scratch[7] != 1)
        wrong("no answer to this question");
      c->expected = c->received = size;
    }
    if (c->expected != 0 && c->received == c->expected) return done(c);
  }
}

/* Header and question of a DNS message (RFC 1035 4.1). */
static void make_query(const char* name) {
  static const char head[12] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  memcpy(request, head, sizeof head);
  size_t at = sizeof head;
  while (*name != 0) {
    size_t const label = strcspn(name, ".");
    request[at++] = (char)label;
    memcpy(request + at, name, label);
    at += label;
    name += label + (name[label] == '.');
  }
  static const char type_and_class[5] = {0, 0, 1, 0, 1};
  memcpy(request + at, type_and_class, 5);
  request_size = at + 5;
}

static double percentile(double share) {
  uint64_t const rank = (uint64_t)((double)requests * share);
  uint64_t seen = 0;
  for (uint32_t us = 0; us <= LATENCY_US_MAX; us++) {
    seen += latencies[us];
    if (seen > rank) return us;
  }
  return LATENCY_US_MAX;
}

static void look(int epoll, int wait_ms) {
  struct epoll_event events[256];
  int const n = epoll_wait(epoll, events, 256, wait_ms);
  if (n < 0 && errno != EINTR) fail("epoll_wait");
  for (int i = 0; i < n; i++) {
    struct connection* const c = events[i].data.ptr;
    if (events[i].events & EPOLLOUT) send_rest(c);
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
  }
}

static void open_some(int epoll, uint16_t port, int from, int to) {
  for (int i = from; i < to; i++) {
    struct connection* const c = &connections[i];
    c->mark = (uint8_t)(1 + i % 251);
    c->sent = request_size; /* nothing to send yet */
    open_connection(c, port);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) fail("epoll_ctl");
  }
}

/* Connections that have had one exchange, until whoever started this has enough of them. */
static void keep_idle(int epoll, uint16_t port, int count) {
  for (int opened = 0; opened < count;) {
    int const to = opened + IDLE_BATCH < count ? opened + IDLE_BATCH : count;
    open_some(epoll, port, opened, to);
    for (; opened < to; opened++) begin(&connections[opened]);
    while (requests < (uint64_t)opened) look(epoll, 100);
  }
  printf("{\"idle\":%d}\n", count);
  fflush(stdout);
  while (read(0, scratch, 1) > 0) {
  }
}

/* Datagrams that were not answered are asked again. */
static void ask_lost_again(int count, uint64_t now) {
  for (int i = 0; i < count; i++) {
    if (now - connections[i].began < LOST_NS) continue;
    lost++;
    begin(&connections[i]);
  }
}

static void begin_all_that_are_due(int count, uint64_t now) {
  for (int i = 0; i < count; i++)
    if (connections[i].waits) begin_when_due(&connections[i], now);
}

/* Returns when it stopped. */
static uint64_t run_until(int epoll, int count, uint64_t start, uint64_t end) {
  uint64_t looked = start;
  uint64_t now;
  while ((now = now_ns()) < end) {
    if (interval != 0) begin_all_that_are_due(count, now);
    /* At a fixed rate it spins: it has a core of its own, and waking up would be late. */
    look(epoll, interval != 0 ? 0 : 100);
    if (mode != UDP || now - looked < LOST_NS) continue;
    looked = now;
    ask_lost_again(count, now);
  }
  return now;
}

static int make_request(const char* what, uint16_t port) {
  if (mode == HTTP) {
    request_size = (size_t)snprintf(request, sizeof request,
                                    "GET %.1000s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", what, port);
  } else if (mode == TCP) {
    request_size = (size_t)atol(what);
    if (request_size < 1 || request_size > MESSAGE_MAX) return 0;
  } else {
    make_query(what);
  }
  return 1;
}

static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    fprintf(stderr, "usage: load http|tcp|udp PORT CONNECTIONS SECONDS|idle PATH|BYTES|NAME [RATE]\n");
    return 2;
  }
  mode = strcmp(argv[1], "http") == 0 ? HTTP : strcmp(argv[1], "tcp") == 0 ? TCP : UDP;
  uint16_t const port = (uint16_t)atoi(argv[2]);
  int const count = atoi(argv[3]);
  idle = strcmp(argv[4], "idle") == 0;
  double const seconds = atof(argv[4]);
  if (count < 1 || count > CONNECTIONS_MAX || !make_request(argv[5], port)) return 2;
  if (argc == 7) interval = (uint64_t)(1e9 * count / atof(argv[6]));
  raise_descriptor_limit();

  int const epoll = epoll_create1(0);
  if (epoll < 0) fail("epoll_create1");
  if (idle) {
    keep_idle(epoll, port, count);
    return 0;
  }
  open_some(epoll, port, 0, count);
  uint64_t const start = now_ns();
  for (int i = 0; i < count; i++) {
    if (interval == 0) {
      begin(&connections[i]);
      continue;
    }
    connections[i].began = start + interval * (uint64_t)i / (uint64_t)count;
    begin_when_due(&connections[i], start);
  }
  uint64_t const now = run_until(epoll, count, start, start + (uint64_t)(seconds * 1e9));
  printf("{\"requests\":%llu,\"seconds\":%.6f,\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"lost\":%llu}\n",
         (unsigned long long)requests, (double)(now - start) / 1e9, percentile(0.5),
         percentile(0.99), percentile(0.999), (unsigned long long)lost);
  return 0;
}

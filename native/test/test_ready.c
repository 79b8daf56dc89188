/* Readiness alone (ready.c): what epoll's edges do not tell, requests that make no sense, and
 * descriptors whose numbers come back as another file's. */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/timerfd.h>

#include "../ready.h"
#include "queue.h"

/* --- Edges --------------------------------------------------------------------------------- */

/* A short read proves that nothing more is there. But not before urgent data ... */
TEST(bytes_behind_urgent_data) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  int const no_delay = 1;
  setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);
  put_recv(fds[0], 1);
  enter();
  CHECK_EQ(send(fds[1], "ab", 2, 0), 2);
  CHECK_EQ(send(fds[1], "!", 1, MSG_OOB), 1);
  CHECK_EQ(send(fds[1], "cd", 2, 0), 2);
  test_sleep_us(20000); /* all of it is there before we look */
  uint8_t text[4];
  CHECK_EQ(receive_all(fds[0], 1, text, 4), 4);
  CHECK_BYTES(text, "abcd", 4);
  for (int i = 0; i < 2; i++) close(fds[i]);
  queue_close();
}

static void send_with_descriptor(int fd, const char* byte) {
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control = {0};
  struct iovec vector = {.iov_base = (void*)(uintptr_t)byte, .iov_len = 1};
  struct msghdr const message = {.msg_iov = &vector,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
  struct cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(head), &fd, sizeof fd);
  if (sendmsg(fd, &message, 0) != 1) abort();
}

/* ... nor before a descriptor that a peer passes along a Unix socket. */
TEST(bytes_behind_a_passed_descriptor) {
  QUEUE_OPEN(8);
  int fds[2];
  unix_pair(fds, SOCK_STREAM);
  put_recv(fds[0], 1);
  enter();
  send_with_descriptor(fds[1], "a");
  CHECK_EQ(send(fds[1], "bc", 2, 0), 2);
  uint8_t text[3];
  CHECK_EQ(receive_all(fds[0], 1, text, 3), 3);
  CHECK_BYTES(text, "abc", 3);
  for (int i = 0; i < 2; i++) close(fds[i]);
  queue_close();
}

/* Data, then FIN, seen as one edge; read before and after it. */
TEST(the_end_right_behind_the_data) {
  QUEUE_OPEN(8);
  for (int wait = 0; wait < 2; wait++) {
    int fds[2];
    tcp_pair(fds);
    put_recv(fds[0], 1);
    enter();
    CHECK_EQ(send(fds[1], "abc", 3, 0), 3);
    if (wait) CHECK_EQ(await(1).result, 3);
    close(fds[1]);
    test_sleep_us(5000);
    if (!wait) CHECK_EQ(await(1).result, 3);
    CHECK_EQ(await(1).result, 0);
    put_close(fds[0], 2);
    CHECK_EQ(await(2).result, 0);
  }
  queue_close();
}

/* What is not finished in one turn has its next one though no edge comes. */
TEST(more_than_one_turn_of_everything) {
  QUEUE_OPEN(2);
  int const listening = listener();
  enum { COUNT = 150 };
  int peers[COUNT];
  for (int i = 0; i < COUNT; i++) peers[i] = peer_of(listening);
  put_accept(listening, 1);
  for (int i = 0; i < COUNT; i++) {
    struct completion const c = await(1);
    CHECK_GE(c.result, 0);
    close(c.result);
    close(peers[i]);
  }
  int fds[2];
  tcp_pair(fds);
  static uint8_t sent[100 * BUFFER];
  static uint8_t received[100 * BUFFER];
  fill_pattern(sent, sizeof sent, 1);
  CHECK_EQ(send(fds[1], sent, sizeof sent, 0), sizeof sent);
  put_recv(fds[0], 2);
  CHECK_EQ(receive_all(fds[0], 2, received, sizeof received), sizeof received);
  CHECK(memcmp(sent, received, sizeof sent) == 0);
  for (int i = 0; i < 2; i++) close(fds[i]);
  close(listening);
  queue_close();
}

/* More edges than one look at epoll brings. */
TEST(more_edges_than_one_turn_takes) {
  enum { COUNT = 300, EVENTS = 256 };
  QUEUE_OPEN(256);
  static int fds[COUNT][2];
  for (int i = 0; i < COUNT; i++) {
    unix_pair(fds[i], SOCK_STREAM);
    put_recv(fds[i][0], 1000 + (uint64_t)i);
  }
  while (waiting() > 0 || tl_sockets_has_news(&queue)) enter();
  for (int i = 0; i < COUNT; i++) shutdown(fds[i][1], SHUT_WR);
  enter();
  CHECK_EQ(atomic_load(queue_word(queue.ring.cq_tail)), EVENTS);
  CHECK(atomic_load(queue_word(queue.ring.sq_flags)) & SQ_WORK);
  enter();
  CHECK_EQ(atomic_load(queue_word(queue.ring.cq_tail)), COUNT);
  CHECK(!(atomic_load(queue_word(queue.ring.sq_flags)) & SQ_WORK));
  for (int i = 0; i < COUNT; i++) {
    close(fds[i][0]);
    close(fds[i][1]);
  }
  queue_close();
}

/* --- Numbers that come back ---------------------------------------------------------------- */

/* Closed with a receive standing and a send queued: neither may meet the next file of that
 * number. */
TEST(requests_end_with_their_descriptor) {
  QUEUE_OPEN(8);
  int fds[2];
  int next_fds[2];
  tcp_pair(fds);
  fill_up(fds[0]);
  put_recv(fds[0], 1);
  put_send(fds[0], "secret", 6, MSG_WAITALL, 2);
  enter();
  put_close(fds[0], 3);
  CHECK_EQ(await(1).result, -ECANCELED);
  CHECK_EQ(await(2).result, -ECANCELED);
  CHECK_EQ(await(3).result, 0);
  close(fds[1]);
  tcp_pair(next_fds);
  CHECK(next_fds[0] == fds[0] || next_fds[1] == fds[0]);
  if (next_fds[0] != fds[0]) {
    int const swap = next_fds[0];
    next_fds[0] = next_fds[1];
    next_fds[1] = swap;
  }
  put_recv(fds[0], 4);
  put_send(fds[0], "public", 6, MSG_WAITALL, 5);
  CHECK_EQ(await(5).result, 6);
  char text[6];
  CHECK_EQ(recv(next_fds[1], text, 6, MSG_WAITALL), 6);
  CHECK_BYTES(text, "public", 6);
  CHECK_EQ(send(next_fds[1], "x", 1, 0), 1);
  CHECK_EQ(await(4).result, 1);
  close(fds[0]);
  close(next_fds[1]);
  quiet();
  queue_close();
}

/* Cancelled, then closed by somebody else (libuv): the next one of that number is told to epoll. */
TEST(a_number_given_back_and_taken_again) {
  QUEUE_OPEN(8);
  int number = -1;
  for (int round = 0; round < 4; round++) {
    int fds[2];
    tcp_pair(fds);
    if (number < 0) number = fds[0];
    put_recv(fds[0], 1);
    CHECK_EQ(send(fds[1], "x", 1, 0), 1);
    uint8_t byte;
    CHECK_EQ(receive_all(fds[0], 1, &byte, 1), 1);
    test_sleep_us(100);
    CHECK_EQ(send(fds[1], "y", 1, 0), 1); /* by an edge of its own */
    CHECK_EQ(receive_all(fds[0], 1, &byte, 1), 1);
    put_cancel_fd(fds[0], 2);
    CHECK_EQ(await(1).result, -ECANCELED);
    await(2);
    enter();
    CHECK_EQ(send(fds[1], "z", 1, 0), 1); /* is not for us any more: the loop sleeps on */
    struct pollfd p = {.fd = tl_sockets_ready_fd(&queue), .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 20), 0);
    for (int i = 0; i < 2; i++) close(fds[i]);
    if (test_failures) break;
  }
  queue_close();
}

/* --- Requests that make no sense ----------------------------------------------------------- */

#define HIGHEST_FD 0x7fffffff

TEST(no_such_descriptor) {
  QUEUE_OPEN(8);
  int const closed = bound(SOCK_STREAM);
  close(closed);
  struct sockaddr_in const to = loopback(htons(9));
  int const bad[] = {-1, -100, INT32_MIN, closed, 5000, 1 << 29, HIGHEST_FD};
  struct msghdr const header = {.msg_namelen = 16};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    put_accept(bad[i], 1);
    put_recv(bad[i], 2);
    put_recvmsg(bad[i], &header, 3);
    put_send(bad[i], "x", 1, 0, 4);
    put_connect(bad[i], &to, 5);
    put_close(bad[i], 6);
    put_cancel_fd(bad[i], 7);
    put_cancel(bad[i], 1, 8);
    for (uint64_t k = 1; k <= 6; k++) CHECK_EQ(await(k).result, -EBADF);
    for (uint64_t k = 7; k <= 8; k++) CHECK_LE(await(k).result, 0);
    if (test_failures) break;
  }
  quiet();
  queue_close();
}

TEST(not_a_socket) {
  QUEUE_OPEN(8);
  int const file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  int const timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  int const bad[] = {file, timer};
  struct sockaddr_in const to = loopback(htons(9));
  for (int i = 0; i < 2; i++) {
    put_accept(bad[i], 1);
    put_recv(bad[i], 2);
    put_send(bad[i], "x", 1, 0, 3);
    put_connect(bad[i], &to, 4);
    enter();
    put_cancel_fd(bad[i], 5);
    for (uint64_t k = 1; k <= 4; k++) CHECK(await(k).result < 0);
    await(5);
    close(bad[i]);
  }
  quiet();
  queue_close();
}

TEST(bad_words) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  int const udp = bound(SOCK_DGRAM);
  int const listening = listener();
  void* const nowhere = (void*)8;
  for (int op = 0; op < 256; op++) { /* what is not known is refused */
    if (op == IORING_OP_RECVMSG || (op >= IORING_OP_ACCEPT && op <= IORING_OP_CLOSE) ||
        op == IORING_OP_SEND || op == IORING_OP_RECV)
      continue;
    put(op, fds[0], 1);
    CHECK_EQ(await(1).result, -EINVAL);
  }
  put_send(fds[0], nowhere, 4, 0, 2);
  CHECK_EQ(await(2).result, -EFAULT);
  put_send(fds[0], nowhere, UINT32_MAX, MSG_WAITALL, 2);
  CHECK_EQ(await(2).result, -EFAULT);
  put_send(fds[0], NULL, 0, 0, 3);
  CHECK_EQ(await(3).result, 0);
  put_send_to(udp, "x", 1, nowhere, 4);
  CHECK_EQ(await(4).result, -EFAULT);
  put_send_to(udp, "x", 1, nowhere, 4); /* and two of them, in one call */
  put_send_to(udp, "x", 1, nowhere, 4);
  CHECK_EQ(await(4).result, -EFAULT);
  CHECK_EQ(await(4).result, -EFAULT);
  int const unconnected = ours(AF_INET, SOCK_STREAM);
  put_connect(unconnected, nowhere, 5);
  CHECK_EQ(await(5).result, -EFAULT);
  put_recv(listening, 6); /* never ready: these stand */
  put_accept(udp, 7);
  enter();
  put_cancel_fd(listening, 1);
  put_cancel_fd(udp, 1);
  CHECK_EQ(await(6).result, -ECANCELED);
  CHECK_EQ(await(7).result, -ECANCELED);
  put_recvmsg(udp, NULL, 8);
  CHECK_EQ(await(8).result, -EFAULT);
  struct msghdr header = {.msg_namelen = UINT32_MAX};
  put_recvmsg(udp, &header, 9);
  CHECK_EQ(await(9).result, -EINVAL);
  header.msg_namelen = BUFFER; /* no room for it and the header in any buffer */
  put_recvmsg(udp, &header, 10);
  struct sockaddr_in const to = address_of(udp);
  CHECK_EQ(sendto(udp, "x", 1, 0, (const struct sockaddr*)&to, sizeof to), 1);
  CHECK_EQ(await(10).result, -EFAULT);
  close(unconnected);
  close(listening);
  close(udp);
  for (int i = 0; i < 2; i++) close(fds[i]);
  for (int i = 0; i < 2; i++) await(1);
  quiet();
  queue_close();
}

/* One of each kind stands; a second one is refused, and the first goes on. */
TEST(a_second_receive) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  put_recv(fds[0], 1);
  put_recv(fds[0], 2);
  CHECK_EQ(await(2).result, -EBUSY);
  CHECK_EQ(send(fds[1], "x", 1, 0), 1);
  CHECK_EQ(await(1).result, 1);
  for (int i = 0; i < 2; i++) close(fds[i]);
  queue_close();
}

/* More is said to be queued than there is. */
TEST(counts_that_are_wrong) {
  QUEUE_OPEN(8);
  CHECK_EQ(tl_sockets_enter(&queue, UINT32_MAX, IORING_ENTER_GETEVENTS), 0);
  put_close(-1, 1);
  CHECK_EQ(tl_sockets_enter(&queue, 0, 0), 0);
  CHECK_EQ(tl_sockets_enter(&queue, UINT32_MAX, 0xffffffffu), 1);
  CHECK_EQ(await(1).result, -EBADF);
  queue_close();
}

TEST(the_loop_is_told) {
  QUEUE_OPEN(8);
  CHECK_GE(tl_sockets_ready_fd(&queue), 0);
  CHECK(!tl_sockets_has_news(&queue));
  tl_sockets_note(&queue);
  CHECK(tl_sockets_has_news(&queue));
  enter();
  CHECK(!tl_sockets_has_news(&queue));
  queue_close();
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN(bytes_behind_urgent_data);
  RUN(bytes_behind_a_passed_descriptor);
  RUN(the_end_right_behind_the_data);
  RUN(more_than_one_turn_of_everything);
  RUN(more_edges_than_one_turn_takes);
  RUN(requests_end_with_their_descriptor);
  RUN(a_number_given_back_and_taken_again);
  RUN(no_such_descriptor);
  RUN(not_a_socket);
  RUN(bad_words);
  RUN(a_second_receive);
  RUN(counts_that_are_wrong);
  RUN(the_loop_is_told);
  return summary();
}

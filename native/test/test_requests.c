/* The sockets' requests, on io_uring and on readiness: is the same asked for answered in the same
 * way? What TypeScript relies on is here; where the tiers may differ, the test says so. */
#define _GNU_SOURCE
#include "queue.h"

/* --- Streams ------------------------------------------------------------------------------- */

TEST(accept_and_receive_stand) {
  QUEUE_OPEN(8);
  int const listening = listener();
  put_accept(listening, 1);
  CHECK_EQ(enter(), 1);
  int peers[3];
  int fds[3];
  for (int i = 0; i < 3; i++) {
    peers[i] = peer_of(listening);
    struct completion const c = await(1);
    CHECK(c.more);
    fds[i] = c.result;
    CHECK_GE(fds[i], 0);
    CHECK_EQ(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
    put_recv(fds[i], 10 + (uint64_t)i);
  }
  for (int round = 0; round < 20; round++) { /* the buffers go round more than once */
    for (int i = 0; i < 3; i++) {
      char text[16];
      int const size = snprintf(text, sizeof text, "%d to %d", round, i);
      CHECK_EQ(send(peers[i], text, (size_t)size, 0), size);
      struct completion const c = await(10 + (uint64_t)i);
      CHECK_EQ(c.result, size);
      CHECK(c.more);
      REQUIRE(c.buffer >= 0 && c.buffer < 8);
      CHECK_BYTES(buffer_of(c.buffer), text, (size_t)size);
      give(c.buffer);
    }
  }
  for (int i = 0; i < 3; i++) {
    close(peers[i]);
    struct completion const c = await(10 + (uint64_t)i);
    CHECK_EQ(c.result, 0);
    CHECK(!c.more);
    put_close(fds[i], 20);
    CHECK_EQ(await(20).result, 0);
    CHECK_EQ(fcntl(fds[i], F_GETFD), -1);
  }
  quiet();
  close(listening);
  queue_close();
}

TEST(connections_are_made_or_refused) {
  QUEUE_OPEN(8);
  int const listening = listener();
  struct sockaddr_in const to = address_of(listening);
  int const fd = ours(AF_INET, SOCK_STREAM);
  put_connect(fd, &to, 1);
  CHECK_EQ(await(1).result, 0);
  int const peer = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
  put_send(fd, "hello", 5, MSG_WAITALL, 2);
  CHECK_EQ(await(2).result, 5);
  char text[5];
  CHECK_EQ(recv(peer, text, 5, MSG_WAITALL), 5);
  CHECK_BYTES(text, "hello", 5);
  close(fd);
  close(peer);
  close(listening);

  int const refused = ours(AF_INET, SOCK_STREAM);
  put_connect(refused, &to, 3); /* nobody listens there any more */
  CHECK_EQ(await(3).result, -ECONNREFUSED);
  close(refused);
  quiet();
  queue_close();
}

/* Linux drops the SYN while the backlog is full: the request stands. */
TEST(a_connect_that_hangs_is_cancelled) {
  QUEUE_OPEN(8);
  int const listening = bound(SOCK_STREAM);
  CHECK_EQ(listen(listening, 0), 0);
  struct sockaddr_in const to = address_of(listening);
  int fds[8];
  for (int i = 0; i < 8; i++) {
    fds[i] = ours(AF_INET, SOCK_STREAM);
    put_connect(fds[i], &to, (uint64_t)i);
  }
  enter();
  struct completion c;
  CHECK(!await_ms(7, &c, 50));
  put_cancel_fd(fds[7], 100);
  CHECK_EQ(await(7).result, -ECANCELED);
  await(100);
  for (int i = 0; i < 7; i++) {
    put_cancel_fd(fds[i], 100);
    await((uint64_t)i);
    await(100);
  }
  for (int i = 0; i < 8; i++) close(fds[i]);
  close(listening);
  quiet();
  queue_close();
}

/* Linux looks at the limit that was in force when the accept was asked for. */
TEST(no_descriptor_for_a_connection) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  struct rlimit const few = {.rlim_cur = 30, .rlim_max = limit.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  QUEUE_OPEN(8);
  int const listening = listener();
  put_accept(listening, 1);
  enter();
  int const peer = peer_of(listening);
  close(await(1).result);
  int const late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int taken[30];
  int count = 0;
  while ((taken[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) count++;
  struct sockaddr_in const to = address_of(listening);
  CHECK_EQ(connect(late, (const struct sockaddr*)&to, sizeof to), 0);
  CHECK_EQ(send(late, "x", 1, 0), 1);
  struct completion const c = await(1);
  CHECK_EQ(c.result, -EMFILE);
  CHECK(!c.more);
  put_accept(listening, 2); /* still none */
  CHECK_EQ(await(2).result, -EMFILE);
  while (count > 0) close(taken[--count]);
  put_accept(listening, 3); /* the connection was not lost */
  struct completion const accepted = await(3);
  CHECK_GE(accepted.result, 0);
  char byte = 0;
  CHECK_EQ(recv(accepted.result, &byte, 1, MSG_WAITALL), 1);
  close(accepted.result);
  close(late);
  close(peer);
  put_cancel_fd(listening, 4);
  await(3);
  await(4);
  close(listening);
  quiet();
  queue_close();
}

TEST(a_reset_peer) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  put_recv(fds[0], 1);
  enter();
  reset_on_close(fds[1]);
  close(fds[1]);
  struct completion const c = await(1);
  CHECK_EQ(c.result, -ECONNRESET);
  CHECK(!c.more);
  put_send(fds[0], "x", 1, MSG_WAITALL, 2);
  CHECK_EQ(await(2).result, -EPIPE);
  put_recv(fds[0], 3);
  CHECK_EQ(await(3).result, 0);
  close(fds[0]);
  queue_close();
}

/* With a send in flight: it must not stand for ever, and tells how far it got. */
/* More than Linux has room for, to a peer that does not read. */
static uint8_t much[16 << 20];

static void begin_stuck_send(int fds[2], uint64_t user_data) {
  tcp_pair(fds);
  int const small = 20000;
  setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  put_send(fds[0], much, sizeof much, MSG_WAITALL, user_data);
  struct completion c;
  CHECK(!await_ms(user_data, &c, 20));
}

TEST(a_reset_in_mid_send) {
  QUEUE_OPEN(8);
  int fds[2];
  begin_stuck_send(fds, 1);
  reset_on_close(fds[1]);
  close(fds[1]);
  int32_t const result = await(1).result;
  CHECK(result > 0 && result < (int32_t)sizeof much);
  put_send(fds[0], much, 1, MSG_WAITALL, 2);
  CHECK(await(2).result < 0);
  close(fds[0]);
  queue_close();
}

/* The rest may be sent by another way: not one byte of it twice. */
TEST(a_send_cancelled_in_the_middle_says_how_much_has_gone) {
  QUEUE_OPEN(8);
  int fds[2];
  begin_stuck_send(fds, 1);
  put_cancel_fd(fds[0], 2);
  int32_t const result = await(1).result;
  CHECK(result > 0 && result < (int32_t)sizeof much);
  await(2);
  close(fds[0]);
  CHECK_EQ(drain(fds[1], sizeof much), (size_t)result);
  close(fds[1]);
  quiet();
  queue_close();
}

TEST(half_close) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  put_recv(fds[0], 1);
  enter();
  CHECK_EQ(send(fds[1], "last", 4, 0), 4);
  shutdown(fds[1], SHUT_WR);
  uint8_t text[8];
  CHECK_EQ(receive_all(fds[0], 1, text, 4), 4);
  CHECK_EQ(await(1).result, 0);
  put_send(fds[0], "answer", 6, MSG_WAITALL, 2); /* our side is open */
  CHECK_EQ(await(2).result, 6);
  CHECK_EQ(recv(fds[1], text, 6, MSG_WAITALL), 6);
  shutdown(fds[0], SHUT_WR);
  CHECK_EQ(recv(fds[1], text, 1, 0), 0);
  put_send(fds[0], "x", 1, MSG_WAITALL, 3);
  CHECK_EQ(await(3).result, -EPIPE);
  close(fds[0]);
  close(fds[1]);
  quiet();
  queue_close();
}

TEST(sends_wait_for_room_and_keep_their_order) {
  QUEUE_OPEN(8);
  enum { SIZE = 1 << 20 };
  static uint8_t sent[SIZE];
  static uint8_t received[SIZE];
  fill_pattern(sent, SIZE, 3);
  int fds[2];
  tcp_pair(fds);
  int const small = 20000; /* it takes many goes */
  setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  size_t const before = fill_up(fds[0]);
  put_send(fds[0], sent, SIZE, MSG_WAITALL, 1); /* one completion, for all of it */
  struct completion c;
  CHECK(!await_ms(1, &c, 20));
  CHECK_EQ(drain(fds[1], before), before);
  size_t got = 0;
  while (got < SIZE) {
    ssize_t const n = recv(fds[1], received + got, SIZE - got, MSG_DONTWAIT);
    if (n > 0) got += (size_t)n;
    else enter();
  }
  CHECK_EQ(await(1).result, SIZE);
  CHECK(memcmp(sent, received, SIZE) == 0);
  close(fds[0]);
  close(fds[1]);
  queue_close();
}

/* Without MSG_WAITALL a send may be short; it says how much. */
TEST(a_short_send) {
  QUEUE_OPEN(8);
  enum { SIZE = 16 << 20 };
  uint8_t* const data = calloc(1, SIZE);
  int fds[2];
  tcp_pair(fds);
  int const small = 20000;
  setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  put_send(fds[0], data, SIZE, 0, 1);
  struct completion const c = await(1);
  CHECK(c.result > 0 && c.result < SIZE);
  CHECK_EQ(drain(fds[1], (size_t)c.result), c.result);
  close(fds[0]);
  CHECK_EQ(drain(fds[1], 1), 0); /* and nothing more */
  close(fds[1]);
  free(data);
  queue_close();
}

/* --- Cancelling and closing ---------------------------------------------------------------- */

TEST(cancel_ends_a_receive_and_a_send_then_close) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  size_t const before = fill_up(fds[0]);
  static uint8_t data[300000];
  put_recv(fds[0], 1);
  put_send(fds[0], data, sizeof data, MSG_WAITALL, 2);
  enter();
  put_cancel_fd(fds[0], 3);
  put_close(fds[0], 4);
  CHECK_EQ(await(1).result, -ECANCELED);
  int32_t const sent = await(2).result;
  CHECK(sent == -ECANCELED || (sent > 0 && sent < (int32_t)sizeof data));
  CHECK_EQ(await(3).result, 2);
  CHECK_EQ(await(4).result, 0);
  CHECK_EQ(drain(fds[1], before), before);
  close(fds[1]);
  quiet();
  queue_close();
}

/* As destroy() right after a write does: what was queued before has its turn first. */
TEST(what_is_queued_before_a_cancel_leaves) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  for (int known = 0; known < 2; known++) {
    put_send(fds[0], "hello", 5, MSG_WAITALL, 1);
    put_send(fds[0], "there", 5, MSG_WAITALL, 2);
    put_cancel_fd(fds[0], 3);
    CHECK_EQ(await(1).result, 5);
    CHECK_EQ(await(2).result, 5);
    await(3);
    char text[10];
    CHECK_EQ(recv(fds[1], text, 10, MSG_WAITALL), 10);
    CHECK_BYTES(text, "hellothere", 10);
  }
  for (int i = 0; i < 2; i++) close(fds[i]);
  quiet();
  queue_close();
}

TEST(a_listener_closed_with_an_accept_in_flight) {
  QUEUE_OPEN(8);
  for (int round = 0; round < 20; round++) {
    int const listening = listener();
    put_accept(listening, 1);
    enter();
    int const peers[2] = {peer_of(listening), peer_of(listening)};
    put_cancel_fd(listening, 2);
    put_close(listening, 3);
    int accepted = 0;
    struct completion c;
    while ((c = await(1)).result >= 0) {
      accepted++;
      close(c.result);
      if (!c.more) break;
    }
    CHECK_LE(accepted, 2);
    await(2);
    CHECK_EQ(await(3).result, 0);
    for (int i = 0; i < 2; i++) close(peers[i]);
    if (test_failures) break;
  }
  quiet();
  queue_close();
}

TEST(a_receive_is_taken_back_and_begun_anew) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  uint8_t text[8];
  for (int round = 0; round < 5; round++) {
    put_recv(fds[0], 1);
    enter();
    put_cancel(fds[0], 1, 2);
    CHECK_EQ(await(1).result, -ECANCELED);
    CHECK_EQ(await(2).result, 0 + (on_ring ? 0 : 1)); /* nobody looks at it */
    CHECK_EQ(send(fds[1], "abcd", 4, 0), 4); /* waits in Linux */
    struct completion c;
    CHECK(!await_ms(1, &c, 5));
    put_recv(fds[0], 1);
    CHECK_EQ(receive_all(fds[0], 1, text, 4), 4);
    put_cancel(fds[0], 1, 3);
    CHECK_EQ(await(1).result, -ECANCELED);
    await(3);
    if (test_failures) break;
  }
  put_cancel(fds[0], 1, 4);
  CHECK_EQ(await(4).result, -ENOENT);
  close(fds[0]);
  close(fds[1]);
  queue_close();
}

/* Sends that were never taken, more of them than there are completions. */
TEST(cancel_of_more_than_the_queue_holds) {
  QUEUE_OPEN(8);
  enum { COUNT = COMPLETIONS + 100 };
  int fds[2];
  unix_pair(fds, SOCK_STREAM);
  fill_up(fds[0]);
  static uint8_t data[4096];
  for (uint64_t i = 0; i < COUNT; i++) put_send(fds[0], data, sizeof data, MSG_WAITALL, 1000 + i);
  while (waiting() > 0) enter();
  put_cancel_fd(fds[0], 1);
  CHECK_LE(await(1).result, COUNT);
  for (uint64_t i = 0; i < COUNT && !test_failures; i++)
    CHECK_EQ(await(1000 + i).result, -ECANCELED);
  put_close(fds[0], 2);
  CHECK_EQ(await(2).result, 0);
  close(fds[1]);
  quiet();
  queue_close();
}

/* --- Want ---------------------------------------------------------------------------------- */

/* A ring ends the receive (ENOBUFS); readiness waits and asks to be called again. */
TEST(the_buffers_run_out_and_come_back) {
  QUEUE_OPEN(4);
  enum { SIZE = 40 * BUFFER };
  static uint8_t sent[SIZE];
  static uint8_t received[SIZE];
  fill_pattern(sent, SIZE, 5);
  int fds[2];
  tcp_pair(fds);
  put_recv(fds[0], 1);
  enter();
  CHECK_EQ(send(fds[1], sent, SIZE, 0), SIZE);
  int held[4];
  for (int i = 0; i < 4; i++) {
    struct completion const c = await(1);
    REQUIRE(c.buffer != NONE && c.result > 0);
    memcpy(received + i * (int)BUFFER, buffer_of(c.buffer), BUFFER);
    held[i] = c.buffer;
  }
  struct completion c;
  if (on_ring) {
    CHECK_EQ(await(1).result, -ENOBUFS);
  } else {
    CHECK(!await_ms(1, &c, 10));
    CHECK(tl_sockets_has_news(&queue)); /* or nobody would come when a buffer does */
  }
  for (int i = 0; i < 4; i++) give(held[i]);
  if (on_ring) put_recv(fds[0], 1);
  CHECK_EQ(receive_all(fds[0], 1, received + 4 * BUFFER, SIZE - 4 * BUFFER), SIZE - 4 * BUFFER);
  CHECK(memcmp(sent, received, SIZE) == 0);
  close(fds[1]);
  CHECK_EQ(await(1).result, 0);
  close(fds[0]);
  queue_close();
}

/* A ring keeps what does not fit and says so (CQ_OVERFLOW); readiness takes no more than fits. */
TEST(more_completes_than_the_queue_holds) {
  QUEUE_OPEN(8);
  enum { COUNT = COMPLETIONS + 200 };
  int const from = bound(SOCK_DGRAM);
  int const to = bound(SOCK_DGRAM);
  struct sockaddr_in const name = address_of(to);
  int overflowed = 0;
  uint64_t queued = 0;
  for (int rounds = 0; rounds < 100 && queued < COUNT; rounds++) {
    for (; queued < COUNT && waiting() < ENTRIES; queued++)
      put_send_to(from, "x", 1, &name, 1000 + queued);
    enter();
    overflowed |= (atomic_load(queue_word(queue.ring.sq_flags)) & SQ_OVERFLOW) != 0;
  }
  CHECK_EQ(overflowed, on_ring);
  if (!on_ring) CHECK_EQ(waiting(), ENTRIES); /* the queue is full, the rest waits there */
  CHECK(tl_sockets_has_news(&queue));
  while (next(&kept[kept_count])) kept_count++;
  CHECK(tl_sockets_has_news(&queue) == on_ring); /* what is kept apart is news, too */
  for (uint64_t i = 0; i < queued && !test_failures; i++) CHECK_EQ(await(1000 + i).result, 1);
  close(from);
  close(to);
  quiet();
  queue_close();
}

/* A standing accept and a standing receive go on behind such a jam. */
TEST(standing_requests_outlive_a_full_queue) {
  QUEUE_OPEN(8);
  int const listening = listener();
  int const from = bound(SOCK_DGRAM);
  struct sockaddr_in const nowhere = address_of(from);
  int fds[2];
  tcp_pair(fds);
  put_accept(listening, 1);
  put_recv(fds[0], 2);
  enter();
  for (uint64_t i = 0; i < COMPLETIONS; i++) {
    put_send_to(from, "x", 1, &nowhere, 1000);
    if (waiting() == ENTRIES) enter();
  }
  int const peer = peer_of(listening);
  CHECK_EQ(send(fds[1], "ab", 2, 0), 2);
  for (int i = 0; i < 5; i++) enter();
  for (uint32_t i = 0; i < COMPLETIONS && !test_failures; i++) CHECK_EQ(await(1000).result, 1);
  struct completion const accepted = await(1);
  CHECK_GE(accepted.result, 0);
  close(accepted.result);
  uint8_t text[4];
  CHECK_EQ(receive_all(fds[0], 2, text, 2), 2);
  if (!accepted.more) put_accept(listening, 1);
  int const second = peer_of(listening);
  struct completion const more = await(1);
  CHECK_GE(more.result, 0);
  close(more.result);
  close(peer);
  close(second);
  put_cancel_fd(listening, 3);
  put_cancel_fd(fds[0], 3);
  await(1);
  await(2);
  close(listening);
  close(from);
  for (int i = 0; i < 2; i++) close(fds[i]);
  queue_close();
}

TEST(many_sockets_are_ready_at_once) {
  enum { COUNT = 400 };
  QUEUE_OPEN(256);
  static int fds[COUNT][2];
  for (int i = 0; i < COUNT; i++) {
    unix_pair(fds[i], SOCK_STREAM);
    put_recv(fds[i][0], 1000 + (uint64_t)i);
  }
  while (waiting() > 0) enter();
  for (int i = 0; i < COUNT; i++) CHECK_EQ(send(fds[i][1], &i, sizeof i, 0), sizeof i);
  for (int i = 0; i < COUNT && !test_failures; i++) {
    int got = -1;
    CHECK_EQ(receive_all(fds[i][0], 1000 + (uint64_t)i, (uint8_t*)&got, sizeof got), sizeof got);
    CHECK_EQ(got, i);
  }
  for (int i = 0; i < COUNT; i++) {
    close(fds[i][1]);
    put_cancel_fd(fds[i][0], 1);
    put_close(fds[i][0], 2);
    await(1);
    CHECK_EQ(await(2).result, 0);
    if (test_failures) break;
  }
  queue_close();
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN_BOTH(accept_and_receive_stand);
  RUN_BOTH(connections_are_made_or_refused);
  RUN_BOTH(a_connect_that_hangs_is_cancelled);
  RUN_BOTH(no_descriptor_for_a_connection);
  RUN_BOTH(a_reset_peer);
  RUN_BOTH(a_reset_in_mid_send);
  RUN_BOTH(a_send_cancelled_in_the_middle_says_how_much_has_gone);
  RUN_BOTH(half_close);
  RUN_BOTH(sends_wait_for_room_and_keep_their_order);
  RUN_BOTH(a_short_send);
  RUN_BOTH(cancel_ends_a_receive_and_a_send_then_close);
  RUN_BOTH(what_is_queued_before_a_cancel_leaves);
  RUN_BOTH(a_listener_closed_with_an_accept_in_flight);
  RUN_BOTH(a_receive_is_taken_back_and_begun_anew);
  RUN_BOTH(cancel_of_more_than_the_queue_holds);
  RUN_BOTH(the_buffers_run_out_and_come_back);
  RUN_BOTH(more_completes_than_the_queue_holds);
  RUN_BOTH(standing_requests_outlive_a_full_queue);
  RUN_BOTH(many_sockets_are_ready_at_once);
  return summary();
}

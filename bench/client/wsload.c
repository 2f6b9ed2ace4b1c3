/* The load client's sockets: one thread, one epoll, driven from native.py through ctypes.
 *
 * What happens for each frame (receive, take apart, book) is done here, so that the client is not what limits a
 * server; what happens rarely (publishing, reports) is done in Python. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "books.h"

#define RECEIVE (1 << 20)     /* bytes of one recv, and the longest frame */
#define UNSENT (16 << 20)     /* bytes that may wait for a server that does not read */
#define REQUEST 2048          /* bytes of an upgrade request */
#define WANT 64               /* bytes that an answer is known by */
#define EVENTS 2048           /* of one epoll */
#define SECOND 1000000000ull  /* ns */
#define LONGEST_WAIT (SECOND / 10)
#define HANDSHAKE (20 * SECOND)
#define KEPT (64 << 10)       /* bytes of room that a connection keeps for what may come in parts */

enum state { UNUSED, CONNECTING, UPGRADING, JOINING, READY, DEAD };
enum role { SUBSCRIBER, PUBLISHER, ECHO };
enum opcode { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

/* One step of a handshake: say `send` (nothing if empty), then wait for a frame with `want` in it (not if empty). */
struct step {
    char *send, *want, *bad;
    int is_join;
};

struct script {
    struct step *steps;
    int count;
};

struct buffer {
    char *bytes;
    uint32_t length, capacity;
};

struct connection {
    int fd;
    enum state state;
    enum role role;
    int script, step;
    int waits_to_write;
    uint64_t began, step_began, asked; /* ns */
    uint32_t requests;
    struct buffer received, unsent;
};

/* native.py has the same fields in the same order. */
struct counts {
    uint64_t frames, receives;
    uint64_t delivered, doubled, misordered, foreign;
    uint64_t ready, joins;
    uint64_t failed_connects, failed_upgrades, failed_joins, timeouts, closed_by_peer;
    uint64_t answered, wrong_answers;
    uint64_t last_delivery; /* ns */
};

static struct counts counts;
static struct books books;
static uint64_t delivery_times[BUCKETS], join_times[BUCKETS], echo_times[BUCKETS];

static int epoll = -1;
static struct sockaddr_in server;
static char request[REQUEST], accept_key[WANT];
static int request_length, speaks_engine_io;
static char *received; /* RECEIVE bytes, shared: only what is left of a frame is kept by its connection */

static struct connection *connections;
static int capacity, opened, to_open, handshakes, at_once;
static enum role open_role;
static int first_script, open_scripts, open_index;
static struct script *scripts;
static int script_count;

static struct {
    char *frame, want[WANT];
    int length, ref_at, mark_at, is_on;
} echo;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void *checked(void *memory) {
    if (!memory) {
        fputs("wsload: out of memory\n", stderr);
        abort();
    }
    return memory;
}

static void append(struct buffer *buffer, const char *bytes, uint32_t length) {
    if (buffer->length + length > buffer->capacity) {
        buffer->capacity = (buffer->length + length) * 2;
        buffer->bytes = checked(realloc(buffer->bytes, buffer->capacity));
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

static void empty(struct buffer *buffer) {
    buffer->length = 0;
    if (buffer->capacity > KEPT) { /* 10,000 sockets would keep gigabytes */
        free(buffer->bytes);
        *buffer = (struct buffer){0};
    }
}

static void drop_front(struct buffer *buffer, uint32_t length) {
    buffer->length -= length;
    memmove(buffer->bytes, buffer->bytes + length, buffer->length);
}

/* Sending */

static void watch(int index) {
    struct connection *connection = &connections[index];
    uint32_t events = EPOLLIN | (connection->waits_to_write ? EPOLLOUT : 0);
    struct epoll_event event = {.events = events, .data.u32 = index};
    epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

static void hang_up(int index) {
    struct connection *connection = &connections[index];
    if (connection->state >= CONNECTING && connection->state <= JOINING)
        handshakes--;
    if (connection->state == READY)
        counts.ready--;
    if (connection->fd >= 0) {
        struct linger reset = {.l_onoff = 1}; /* no TIME_WAIT: thousands of ports are needed again at once */
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(connection->fd);
    }
    connection->fd = -1;
    connection->state = DEAD;
    connection->received.length = connection->unsent.length = 0;
}

static void send_bytes(int index, const char *bytes, uint32_t length) {
    struct connection *connection = &connections[index];
    ssize_t taken = 0;
    if (connection->fd < 0)
        return;
    if (!connection->unsent.length) {
        taken = send(connection->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (taken < 0 && errno != EAGAIN)
            return; /* the next recv tells that it is over */
        taken = taken < 0 ? 0 : taken;
    }
    if (taken == length)
        return;
    if (connection->unsent.length + length > UNSENT) {
        counts.timeouts++;
        hang_up(index);
        return;
    }
    append(&connection->unsent, bytes + taken, length - taken);
    if (!connection->waits_to_write) {
        connection->waits_to_write = 1;
        watch(index);
    }
}

static void send_unsent(int index) {
    struct connection *connection = &connections[index];
    struct buffer *unsent = &connection->unsent;
    ssize_t taken = send(connection->fd, unsent->bytes, unsent->length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken > 0)
        drop_front(unsent, taken);
    if (!unsent->length) {
        connection->waits_to_write = 0;
        watch(index);
    }
}

/* Send one masked frame. RFC 6455, 5.2. */
static void send_frame(int index, enum opcode opcode, const char *payload, uint32_t length) {
    static const char mask[4] = {0x37, (char)0xfa, 0x21, 0x3d};
    static struct buffer frame;
    char head[8] = {(char)(0x80 | opcode)};
    int size = 2;
    if (length < 126)
        head[1] = (char)(0x80 | length);
    else if (length < 65536) {
        head[1] = (char)(0x80 | 126);
        head[2] = (char)(length >> 8);
        head[3] = (char)length;
        size = 4;
    } else
        return; /* nothing here sends as much */
    frame.length = 0;
    append(&frame, head, size);
    append(&frame, mask, sizeof mask);
    append(&frame, payload, length);
    char *masked = frame.bytes + size + sizeof mask;
    for (uint32_t i = 0; i < length; i++)
        masked[i] ^= mask[i & 3];
    send_bytes(index, frame.bytes, frame.length);
}

static void ask(int index) {
    struct connection *connection = &connections[index];
    char text[MARK_LENGTH + 1];
    connection->asked = now();
    connection->requests++;
    snprintf(text, sizeof text, "%08u", 10000000u + connection->requests % 10000000u);
    memcpy(echo.frame + echo.ref_at, text, 8);
    snprintf(text, sizeof text, MARK "%016llx%04x%08x", (unsigned long long)connection->asked, 0, connection->requests);
    memcpy(echo.frame + echo.mark_at, text, MARK_LENGTH);
    send_frame(index, TEXT, echo.frame, echo.length);
}

/* Handshakes */

static void start(int index, enum role role, int script) {
    struct connection *connection = &connections[index];
    *connection = (struct connection){.role = role, .script = script, .began = now(), .waits_to_write = 1};
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connection->state = CONNECTING;
    handshakes++;
    int on = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(connection->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        counts.failed_connects++;
        hang_up(index);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = index};
    epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event);
}

static void go_on(int index) {
    struct connection *connection = &connections[index];
    struct script *script = &scripts[connection->script];
    for (; connection->step < script->count; connection->step++) {
        struct step *step = &script->steps[connection->step];
        connection->step_began = now();
        if (*step->send)
            send_frame(index, TEXT, step->send, strlen(step->send));
        if (*step->want)
            return;
    }
    handshakes--;
    connection->state = READY;
    counts.ready++;
}

static int has(const char *text, uint32_t length, const char *what) {
    return *what && memmem(text, length, what, strlen(what));
}

static void hear_answer(int index, const char *text, uint32_t length, uint64_t time) {
    struct connection *connection = &connections[index];
    struct step *step = &scripts[connection->script].steps[connection->step];
    if (!has(text, length, step->want))
        return;
    if (has(text, length, step->bad)) {
        counts.failed_joins++;
        hang_up(index);
        return;
    }
    if (step->is_join) {
        counts.joins++;
        count_into(join_times, time - connection->step_began);
    }
    connection->step++;
    go_on(index);
}

/* Receiving */

static void hear_delivery(int index, const char *text, uint32_t length, uint64_t time) {
    struct mark mark;
    enum entry entry = read_mark(text, length, &mark) ? book(&books, index, &mark) : FOREIGN;
    if (entry == FOREIGN)
        counts.foreign++;
    else if (entry == TWICE)
        counts.doubled++;
    else {
        counts.misordered += entry == LATE;
        counts.delivered++;
        counts.last_delivery = time;
        count_into(delivery_times, time - mark.sent);
    }
}

static void hear_echo(int index, const char *text, uint32_t length, uint64_t time) {
    struct connection *connection = &connections[index];
    struct mark mark;
    int is_error = has(text, length, "\"error\"");
    if (!connection->asked || !has(text, length, echo.want) || !(is_error || read_mark(text, length, &mark))) {
        counts.foreign++; /* the answer to a heartbeat, for one */
        return;
    }
    if (!is_error && mark.number != connection->requests) {
        counts.wrong_answers++; /* not to what was asked last: that is still to come */
        return;
    }
    counts.wrong_answers += is_error;
    counts.answered += !is_error;
    count_into(echo_times, time - connection->asked);
    connection->asked = 0;
    if (echo.is_on)
        ask(index);
}

static void hear_text(int index, const char *text, uint32_t length, uint64_t time) {
    struct connection *connection = &connections[index];
    counts.frames++;
    if (speaks_engine_io && length == 1 && *text == '2')
        send_frame(index, TEXT, "3", 1);
    else if (connection->state == JOINING)
        hear_answer(index, text, length, time);
    else if (connection->role == SUBSCRIBER)
        hear_delivery(index, text, length, time);
    else if (connection->role == ECHO)
        hear_echo(index, text, length, time);
}

static void hear_frame(int index, int opcode, const char *payload, uint32_t length, uint64_t time) {
    if (opcode == CLOSE) {
        counts.closed_by_peer++;
        hang_up(index);
    } else if (opcode == PING)
        send_frame(index, PONG, payload, length);
    else if (opcode != PONG)
        hear_text(index, payload, length, time);
}

/* Return how many bytes the answer to the upgrade takes, 0 while it is not complete. */
static uint32_t hear_upgrade(int index, const char *bytes, uint32_t length) {
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (memcmp(bytes, "HTTP/1.1 101", 12) || !has(bytes, end - bytes, accept_key)) {
        counts.failed_upgrades++;
        hang_up(index);
        return 0;
    }
    connections[index].state = JOINING;
    go_on(index);
    return end + 4 - bytes;
}

/* Take the whole frames off the front, and return how many bytes they took. */
static uint32_t hear(int index, const char *bytes, uint32_t length, uint64_t time) {
    struct connection *connection = &connections[index];
    uint32_t used = 0;
    if (connection->state == UPGRADING)
        used = hear_upgrade(index, bytes, length);
    while (connection->state >= JOINING && connection->state != DEAD && length - used >= 2) {
        const uint8_t *head = (const uint8_t *)bytes + used;
        uint64_t size = head[1] & 127;
        uint32_t begin = size < 126 ? 2 : size == 126 ? 4 : 10;
        if (length - used < begin)
            break;
        if (begin > 2)
            size = 0;
        for (uint32_t i = 2; i < begin; i++)
            size = size << 8 | head[i];
        if (size > length - used - begin)
            break;
        hear_frame(index, head[0] & 15, (const char *)head + begin, size, time);
        used += begin + size;
    }
    return used;
}

static void receive(int index) {
    struct connection *connection = &connections[index];
    uint32_t kept = connection->received.length;
    if (kept)
        memcpy(received, connection->received.bytes, kept);
    ssize_t got = recv(connection->fd, received + kept, RECEIVE - kept, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) { /* 0 too where a frame is longer than the buffer */
        counts.closed_by_peer++;
        hang_up(index);
        return;
    }
    counts.receives++;
    uint32_t length = kept + got, used = hear(index, received, length, now());
    if (connection->fd >= 0 && used < length) {
        connection->received.length = 0;
        append(&connection->received, received + used, length - used);
    } else
        empty(&connection->received);
}

static void on_event(int index, uint32_t events) {
    struct connection *connection = &connections[index];
    if (connection->fd < 0)
        return;
    if (connection->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            counts.failed_connects++;
            hang_up(index);
            return;
        }
        connection->state = UPGRADING;
        connection->waits_to_write = 0;
        watch(index);
        send_bytes(index, request, request_length);
        return;
    }
    if (events & EPOLLOUT)
        send_unsent(index);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        receive(index);
}

static void end_late_handshakes(uint64_t time) {
    for (int i = 0; i < opened; i++) {
        struct connection *connection = &connections[i];
        int is_under_way = connection->state >= CONNECTING && connection->state <= JOINING;
        if (is_under_way && connection->began + HANDSHAKE < time) {
            counts.timeouts++;
            hang_up(i);
        }
    }
}

/* What Python calls */

int load_init(int most, const char *host, int port, const char *upgrade, const char *accept, int engine_io) {
    if (strlen(upgrade) >= REQUEST || strlen(accept) >= WANT)
        return -1;
    capacity = most;
    connections = checked(calloc(most, sizeof *connections));
    received = checked(malloc(RECEIVE));
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &server.sin_addr) != 1)
        return -1;
    request_length = strlen(strcpy(request, upgrade));
    strcpy(accept_key, accept);
    speaks_engine_io = engine_io;
    return epoll = epoll_create1(EPOLL_CLOEXEC);
}

int load_script(void) {
    scripts = checked(realloc(scripts, (script_count + 1) * sizeof *scripts));
    scripts[script_count] = (struct script){0};
    return script_count++;
}

void load_step(int index, const char *send, const char *want, const char *bad, int is_join) {
    struct script *script = &scripts[index];
    script->steps = checked(realloc(script->steps, (script->count + 1) * sizeof *script->steps));
    script->steps[script->count++] = (struct step){
        .send = checked(strdup(send)), .want = checked(strdup(want)), .bad = checked(strdup(bad)), .is_join = is_join};
}

/* Let load_run open `number` sockets, `most` of them under way; they take the scripts from `first` on in turn. */
void load_open(int number, int role, int first, int number_of_scripts, int most) {
    to_open = number < capacity - opened ? number : capacity - opened;
    open_role = role;
    at_once = most;
    first_script = first;
    open_scripts = number_of_scripts;
    open_index = 0;
}

/* Make room in the books for so many messages to each of the first `sockets`. */
int load_expect(uint32_t sockets, uint32_t messages) { return open_books(&books, sockets, messages); }

void load_send(int index, const char *text, uint32_t length) {
    if (index < opened && connections[index].state == READY)
        send_frame(index, TEXT, text, length);
}

/* Run until the time has come, or `target` deliveries are booked (0: never), or all handshakes are over (if asked).
 * Return whether they are. */
int load_run(uint64_t until, uint64_t target, int until_open) {
    static struct epoll_event events[EVENTS];
    static uint64_t last_look;
    for (;;) {
        while (to_open > 0 && handshakes < at_once) {
            start(opened++, open_role, first_script + open_index++ % open_scripts);
            to_open--;
        }
        uint64_t time = now();
        if (time >= until || (target && counts.delivered >= target) || (until_open && !to_open && !handshakes))
            return !to_open && !handshakes;
        uint64_t wait = until - time < LONGEST_WAIT ? until - time : LONGEST_WAIT;
        struct timespec timeout = {.tv_sec = wait / SECOND, .tv_nsec = wait % SECOND};
        int count = epoll_pwait2(epoll, events, EVENTS, &timeout, NULL); /* finer than the milliseconds of epoll_wait */
        for (int i = 0; i < count; i++)
            on_event(events[i].data.u32, events[i].events);
        if (time - last_look > LONGEST_WAIT) {
            last_look = time;
            end_late_handshakes(time);
        }
    }
}

/* Let each ECHO socket ask, and ask again once it is answered. `frame` has a ref of 8 digits and a mark to fill in. */
void load_echo(const char *frame, int ref_at, int mark_at, const char *want) {
    echo.frame = checked(strdup(frame));
    echo.length = strlen(frame);
    echo.ref_at = ref_at;
    echo.mark_at = mark_at;
    snprintf(echo.want, sizeof echo.want, "%s", want);
    echo.is_on = 1;
    for (int i = 0; i < opened; i++)
        if (connections[i].state == READY && connections[i].role == ECHO)
            ask(i);
}

void load_echo_stop(void) { echo.is_on = 0; }

struct counts *load_counts(void) { return &counts; }
uint64_t *load_delivery_times(void) { return delivery_times; }
uint64_t *load_join_times(void) { return join_times; }
uint64_t *load_echo_times(void) { return echo_times; }

void load_forget_times(void) {
    memset(delivery_times, 0, sizeof delivery_times);
    memset(join_times, 0, sizeof join_times);
    memset(echo_times, 0, sizeof echo_times);
}

/* Hang up on all, and be ready to open others. */
void load_close_all(void) {
    for (int i = 0; i < opened; i++) {
        hang_up(i);
        free(connections[i].received.bytes);
        free(connections[i].unsent.bytes);
    }
    opened = to_open = 0;
}

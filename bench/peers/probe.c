/* A probe: the limit of one core. One thread, one epoll; a message is framed once and sent to each socket.
 *
 *     probe PORT            one send() for each frame
 *     probe PORT gather     what one turn of the loop has for a socket goes out in one send()
 *
 * It speaks what load.py says of Phoenix' V2 protocol: phx_join, new:message (to the whole topic, unchanged), and any
 * other event, which is answered with its payload. Payloads are copied, not parsed. Nothing is checked but bounds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKETS 20000   /* the highest file descriptor, and one more */
#define TOPICS 4096
#define NAME 64         /* bytes of a topic's name, with its end */
#define JOINED 64       /* topics of one socket */
#define RECEIVE (1 << 18)
#define LONGEST 65000   /* bytes of a frame: its length fits into 16 bits */
#define HEAD 4          /* bytes before the text of such a frame */
#define UNSENT (64 << 20)
#define EVENTS 1024

struct buffer {
    char *bytes;
    size_t length, capacity;
};

struct peer {
    int is_open; /* the upgrade is over */
    struct buffer received, unsent;
    int joined_count, joined[JOINED];
};

struct topic {
    char name[NAME];
    int count, capacity, *members;
};

/* The parts of [join_ref, ref, topic, event, payload] as they stand in the text, quotes and all. */
struct part {
    const char *text;
    int length;
};
enum { JOIN_REF, REF, TOPIC, EVENT, PAYLOAD, PARTS };

static struct peer peers[SOCKETS];
static struct topic topics[TOPICS];
static int topic_count;
static int epoll, gathers;
static int dirty[SOCKETS], dirty_count; /* who has something unsent that was gathered in this turn */

static void append(struct buffer *buffer, const char *bytes, size_t length) {
    if (buffer->length + length > buffer->capacity) {
        buffer->capacity = (buffer->length + length) * 2;
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (!buffer->bytes)
            abort();
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

/* Sending */

static void watch(int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

/* Send what is unsent; return whether all of it is. */
static int send_unsent(int fd) {
    struct buffer *unsent = &peers[fd].unsent;
    ssize_t taken = send(fd, unsent->bytes, unsent->length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0 && errno != EAGAIN)
        taken = unsent->length; /* it is gone; the next recv tells */
    if (taken > 0) {
        unsent->length -= taken;
        memmove(unsent->bytes, unsent->bytes + taken, unsent->length);
    }
    return !unsent->length;
}

static void send_bytes(int fd, const char *bytes, size_t length) {
    struct buffer *unsent = &peers[fd].unsent;
    if (gathers) {
        if (!unsent->length)
            dirty[dirty_count++] = fd;
    } else if (!unsent->length) {
        ssize_t taken = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (taken == (ssize_t)length || (taken < 0 && errno != EAGAIN))
            return;
        taken = taken < 0 ? 0 : taken;
        bytes += taken;
        length -= taken;
        watch(fd, EPOLLIN | EPOLLOUT);
    }
    if (unsent->length + length <= UNSENT)
        append(unsent, bytes, length);
}

static void send_gathered(void) {
    for (int i = 0; i < dirty_count; i++)
        if (peers[dirty[i]].unsent.length && !send_unsent(dirty[i]))
            watch(dirty[i], EPOLLIN | EPOLLOUT);
    dirty_count = 0;
}

/* Put the head of a text frame before the text at `text`; return where the frame begins. RFC 6455, 5.2. */
static char *framed(char *text, int length) {
    char *frame = length < 126 ? text - 2 : text - HEAD;
    frame[0] = (char)0x81;
    frame[1] = (char)(length < 126 ? length : 126);
    if (length >= 126) {
        frame[2] = (char)(length >> 8);
        frame[3] = (char)length;
    }
    return frame;
}

/* Topics */

/* Return the topic's number; -1 where there is none, or no room for one. */
static int find_topic(const char *name, int length, int make) {
    for (int i = 0; i < topic_count; i++)
        if (!strncmp(topics[i].name, name, length) && !topics[i].name[length])
            return i;
    if (!make || topic_count == TOPICS || length >= NAME)
        return -1;
    memcpy(topics[topic_count].name, name, length);
    return topic_count++;
}

static void join(int fd, int index) {
    struct peer *peer = &peers[fd];
    struct topic *topic = &topics[index];
    if (peer->joined_count == JOINED)
        return;
    if (topic->count == topic->capacity) {
        topic->capacity = topic->capacity * 2 + 16;
        topic->members = realloc(topic->members, topic->capacity * sizeof *topic->members);
        if (!topic->members)
            abort();
    }
    topic->members[topic->count++] = fd;
    peer->joined[peer->joined_count++] = index;
}

static void leave_all(int fd) {
    struct peer *peer = &peers[fd];
    while (peer->joined_count) {
        struct topic *topic = &topics[peer->joined[--peer->joined_count]];
        for (int i = 0; i < topic->count; i++)
            if (topic->members[i] == fd) {
                topic->members[i] = topic->members[--topic->count];
                break;
            }
    }
}

static void hang_up(int fd) {
    struct peer *peer = &peers[fd];
    leave_all(fd);
    for (int i = 0; i < dirty_count; i++)
        if (dirty[i] == fd)
            dirty[i--] = dirty[--dirty_count];
    close(fd);
    free(peer->received.bytes);
    free(peer->unsent.bytes);
    *peer = (struct peer){0};
}

/* Messages */

/* Take [join_ref, ref, topic, event, payload] apart; return 0 where it is something else. */
static int split(const char *text, int length, struct part *parts) {
    const char *at = text + 1, *end = text + length - 1;
    for (int i = 0; i < PAYLOAD; i++) {
        while (at < end && *at == ' ')
            at++;
        const char *begin = at;
        if (at < end && *at == '"')
            at = memchr(at + 1, '"', end - at - 1); /* no ref, topic or event has an escape in it */
        if (!at || !(at = memchr(at, ',', end - at)))
            return 0;
        parts[i] = (struct part){begin, at++ - begin};
    }
    while (at < end && *at == ' ')
        at++;
    parts[PAYLOAD] = (struct part){at, end - at};
    return parts[TOPIC].length > 2;
}

static int is_event(const struct part *part, const char *name) {
    return part->length == (int)strlen(name) + 2 && !memcmp(part->text + 1, name, part->length - 2);
}

static void hear_text(int fd, const char *text, int length) {
    static char frame[HEAD + LONGEST + 1024];
    char *answer = frame + HEAD;
    struct part part[PARTS];
    if (length < 12 || length > LONGEST || !split(text, length, part))
        return;
    int is_join = is_event(&part[EVENT], "phx_join");
    int topic = find_topic(part[TOPIC].text + 1, part[TOPIC].length - 2, is_join);
    if (is_event(&part[EVENT], "new:message")) {
        int size = sprintf(answer, "[null,null,%.*s,%.*s,%.*s]", part[TOPIC].length, part[TOPIC].text,
                           part[EVENT].length, part[EVENT].text, part[PAYLOAD].length, part[PAYLOAD].text);
        const char *begin = framed(answer, size);
        for (int i = 0; topic >= 0 && i < topics[topic].count; i++)
            send_bytes(topics[topic].members[i], begin, answer + size - begin);
        return;
    }
    if (is_join && topic >= 0)
        join(fd, topic);
    int size = sprintf(answer, "[%.*s,%.*s,%.*s,\"phx_reply\",{\"status\":\"ok\",\"response\":%.*s}]",
                       part[JOIN_REF].length, part[JOIN_REF].text, part[REF].length, part[REF].text,
                       part[TOPIC].length, part[TOPIC].text, part[PAYLOAD].length, part[PAYLOAD].text);
    const char *begin = framed(answer, size);
    send_bytes(fd, begin, answer + size - begin);
}

/* Handshakes. SHA-1: RFC 3174. */

static uint32_t rotated(uint32_t word, int by) { return word << by | word >> (32 - by); }

static void sha1_block(uint32_t *state, const uint8_t *block) {
    uint32_t word[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        word[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        word[i] = rotated(word[i - 3] ^ word[i - 8] ^ word[i - 14] ^ word[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t mixed = i < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                                  : (b ^ c ^ d) + 0xCA62C1D6;
        mixed += rotated(a, 5) + e + word[i];
        e = d;
        d = c;
        c = rotated(b, 30);
        b = a;
        a = mixed;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

/* Hash what is 56 to 119 bytes long, as a key with its GUID is. */
static void sha1(const char *text, size_t length, uint8_t digest[20]) {
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t padded[128] = {0};
    memcpy(padded, text, length);
    padded[length] = 0x80;
    for (int i = 0; i < 8; i++)
        padded[127 - i] = (uint64_t)length * 8 >> (8 * i);
    sha1_block(state, padded);
    sha1_block(state, padded + 64);
    for (int i = 0; i < 20; i++)
        digest[i] = state[i / 4] >> (24 - 8 * (i % 4));
}

/* Write 20 bytes as 28 letters and an end. */
static void base64(const uint8_t digest[20], char *text) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t padded[21] = {0};
    memcpy(padded, digest, 20);
    for (int i = 0; i < 21; i += 3) {
        uint32_t bits = padded[i] << 16 | padded[i + 1] << 8 | padded[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *text++ = letters[bits >> shift & 63];
    }
    strcpy(text - 1, "=");
}

/* Answer an upgrade; return how many bytes the request takes, 0 while it is not complete. RFC 6455, 4.2.2. */
static size_t hear_upgrade(int fd, char *request, size_t length) {
    static const char header[] = "sec-websocket-key: ";
    char key[24 + 36 + 1], accept[32], answer[256];
    uint8_t digest[20];
    request[length] = 0;
    char *end = strstr(request, "\r\n\r\n"), *named = strcasestr(request, header);
    if (!end || !named)
        return 0;
    snprintf(key, sizeof key, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", named + strlen(header));
    if (strlen(key) != sizeof key - 1)
        return 0;
    sha1(key, strlen(key), digest);
    base64(digest, accept);
    int size = snprintf(answer, sizeof answer,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    send_bytes(fd, answer, size);
    peers[fd].is_open = 1;
    return end + 4 - request;
}

/* Receiving */

/* Take the whole frames off the front; return how many bytes they took, or -1 where this socket has to be closed. */
static ssize_t hear(int fd, char *bytes, size_t length) {
    size_t used = peers[fd].is_open ? 0 : hear_upgrade(fd, bytes, length);
    while (peers[fd].is_open && length - used >= 6) {
        uint8_t *frame = (uint8_t *)bytes + used;
        size_t size = frame[1] & 127, begin = size < 126 ? 6 : 8;
        if (size == 127)
            return -1;
        if (length - used < begin)
            break;
        if (size == 126)
            size = frame[2] << 8 | frame[3];
        if (length - used < begin + size)
            break;
        uint8_t *mask = frame + begin - 4, *text = frame + begin;
        for (size_t i = 0; i < size; i++)
            text[i] ^= mask[i & 3];
        if ((frame[0] & 15) == 8)
            return -1;
        if ((frame[0] & 15) == 1)
            hear_text(fd, (char *)text, size);
        used += begin + size;
    }
    return used;
}

static void receive(int fd) {
    static char bytes[RECEIVE + 1];
    struct buffer *kept = &peers[fd].received;
    if (kept->length)
        memcpy(bytes, kept->bytes, kept->length);
    ssize_t got = recv(fd, bytes + kept->length, RECEIVE - kept->length, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    size_t length = kept->length + (got > 0 ? got : 0);
    ssize_t used = got > 0 ? hear(fd, bytes, length) : -1;
    if (used < 0) {
        hang_up(fd);
        return;
    }
    kept->length = 0;
    if ((size_t)used < length)
        append(kept, bytes + used, length - used);
}

static void welcome(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= SOCKETS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int open_listener(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) {
        perror("probe");
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments) {
    static struct epoll_event events[EVENTS];
    if (count < 2)
        return 2;
    gathers = count > 2;
    int listener = open_listener(atoi(arguments[1]));
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                welcome(listener);
                continue;
            }
            if (events[i].events & EPOLLOUT && send_unsent(fd))
                watch(fd, EPOLLIN);
            if (events[i].events & ~EPOLLOUT)
                receive(fd);
        }
        send_gathered();
    }
}

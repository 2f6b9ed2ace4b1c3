/* The books of the load client: which socket got which message, in what order, how late.
 *
 * A message carries a mark in its content: "@~@", when it was sent (16 hex digits, ns of CLOCK_MONOTONIC), by which
 * publisher (4) and its number there (8). A delivery is booked by socket and number, so that what is lost, doubled or
 * out of order is seen whatever the server makes of the frame around it. */
#ifndef BOOKS_H
#define BOOKS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MARK "@~@"
#define MARK_LENGTH 31
#define BUCKETS 4096 /* of a histogram: 64 for each power of two, so a value is known to 1.6 % */

struct mark {
    uint64_t sent; /* ns */
    uint32_t publisher;
    uint32_t number;
};

struct books {
    uint8_t *seen;     /* a row of bits for each socket, a bit for each message */
    uint32_t *highest; /* for each socket: one more than the highest number that it got */
    size_t row;        /* bytes */
    uint32_t sockets, messages;
};

enum entry { FIRST, TWICE, LATE, FOREIGN };

static inline void count_into(uint64_t *histogram, uint64_t value) {
    int exponent = value < 64 ? 5 : 63 - __builtin_clzll(value);
    histogram[value < 64 ? value : (exponent - 5) * 64 + ((value >> (exponent - 6)) & 63)]++;
}

/* Read `digits` lower-case hex digits; what is none counts as some digit, for a mark was found before. */
static inline uint64_t hex(const char *text, int digits) {
    uint64_t value = 0;
    for (int i = 0; i < digits; i++)
        value = value << 4 | (text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
    return value;
}

/* Find the mark in a frame; `hint` is where the last one stood, which is where the next one stands. */
static inline int read_mark(const char *text, size_t length, struct mark *mark) {
    static size_t hint;
    if (length < MARK_LENGTH)
        return 0;
    if (hint + MARK_LENGTH > length || memcmp(text + hint, MARK, 3)) {
        const char *found = memmem(text, length, MARK, 3);
        if (!found || found + MARK_LENGTH > text + length)
            return 0;
        hint = found - text;
    }
    mark->sent = hex(text + hint + 3, 16);
    mark->publisher = hex(text + hint + 19, 4);
    mark->number = hex(text + hint + 23, 8);
    return 1;
}

static inline int open_books(struct books *books, uint32_t sockets, uint32_t messages) {
    free(books->seen);
    free(books->highest);
    books->sockets = sockets;
    books->messages = messages;
    books->row = (messages + 7) / 8;
    books->seen = calloc(sockets, books->row);
    books->highest = calloc(sockets, sizeof *books->highest);
    return books->seen && books->highest;
}

/* Book a delivery. LATE is a first one too, after one with a higher number. */
static inline enum entry book(struct books *books, uint32_t socket, const struct mark *mark) {
    if (socket >= books->sockets || mark->publisher || mark->number >= books->messages)
        return FOREIGN;
    uint8_t *byte = books->seen + socket * books->row + mark->number / 8;
    uint8_t bit = 1 << mark->number % 8;
    if (*byte & bit)
        return TWICE;
    *byte |= bit;
    if (mark->number + 1 < books->highest[socket])
        return LATE;
    books->highest[socket] = mark->number + 1;
    return FIRST;
}

#endif

/* An S3 that keeps nothing: what the saving clients of `make bench` send to, cheap enough that they are the bottleneck.
 *
 *   sink [-c CHAIN.pem -k KEY.pem] [-d MILLISECONDS_UNTIL_AN_ANSWER] [-b BYTES_PER_SECOND_OF_A_CONNECTION]
 *        [-t BYTES_PER_SECOND_OF_ALL]
 *
 * Listens on a free port of 127.0.0.1, prints it, and ends with its standard input. One thread for each connection.
 * Bodies are counted and dropped; the checksum that came with one is given back as S3 would. Listings are empty, no
 * object is found, no signature is checked: it shows what saving costs, never whether it is right.
 * GET /__counts answers with what there was, and begins anew.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADERS 16384
#define PIECE (256 << 10)
#define NAMESPACE "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static SSL_CTX *tls;
static long delay_ms, cap, total;
static atomic_long connections, requests, bytes, uploads;

typedef struct {
  int fd;
  SSL *ssl;
  double paid; /* until when what was read keeps a connection of `cap` busy */
  size_t have; /* bytes in `data`, which begin with what was not yet looked at */
  char data[HEADERS + 1];
} Connection;

typedef struct {
  char method[8], target[4096], checksum_name[64], checksum[64];
  long length;
  int chunked, trails, waits, closes;
} Request;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void rest(double seconds) {
  struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
  nanosleep(&t, NULL);
}

/* ---- bytes ---- */

static void pay(Connection *c, ssize_t n) {
  double t = now();
  if (c->paid < t - 0.01) c->paid = t - 0.01;
  c->paid += (double)n / cap;
  if (c->paid > t) rest(c->paid - t);
}

/* As `pay`, for all connections together, which take no more than `total`. */
static void share(ssize_t n) {
  static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
  static double paid;
  pthread_mutex_lock(&door);
  double t = now();
  if (paid < t - 0.01) paid = t - 0.01;
  paid += (double)n / total;
  double wait = paid - t;
  pthread_mutex_unlock(&door);
  if (wait > 0) rest(wait);
}

static ssize_t receive(Connection *c, void *to, size_t most, int drop) {
  ssize_t n = c->ssl ? SSL_read(c->ssl, to, (int)most) : recv(c->fd, to, most, drop ? MSG_TRUNC : 0);
  if (n > 0 && cap) pay(c, n);
  if (n > 0 && total) share(n);
  return n;
}

static int answer(Connection *c, const char *text, int length) {
  ssize_t n = c->ssl ? SSL_write(c->ssl, text, length) : send(c->fd, text, length, MSG_NOSIGNAL);
  return n == length;
}

static void used(Connection *c, size_t n) {
  c->have -= n;
  memmove(c->data, c->data + n, c->have + 1);
}

/* Return the length of what is before `end`, once it is there; -1 when the connection ends or it does not fit. */
static ssize_t until(Connection *c, const char *end) {
  char *found;
  while (!(found = strstr(c->data, end))) {
    if (c->have == HEADERS) return -1;
    ssize_t n = receive(c, c->data + c->have, HEADERS - c->have, 0);
    if (n <= 0) return -1;
    c->have += n;
    c->data[c->have] = 0;
  }
  return found - c->data;
}

static int dropped(Connection *c, long left) {
  static __thread char nowhere[PIECE];
  size_t here = left < (long)c->have ? (size_t)left : c->have;
  atomic_fetch_add(&bytes, left);
  used(c, here);
  for (left -= here; left > 0;) {
    ssize_t n = receive(c, nowhere, left < PIECE ? left : PIECE, 1);
    if (n <= 0) return 0;
    left -= n;
  }
  return 1;
}

/* ---- requests ---- */

static int dropped_chunks(Connection *c) {
  for (;;) {
    ssize_t line = until(c, "\r\n");
    if (line < 0) return 0;
    long size = strtol(c->data, NULL, 16);
    used(c, line + 2);
    if (size == 0) break;
    if (!dropped(c, size) || until(c, "\r\n") != 0) return 0;
    used(c, 2);
  }
  for (ssize_t line = 1; line;) { /* trailers, up to the empty line */
    if ((line = until(c, "\r\n")) < 0) return 0;
    used(c, line + 2);
  }
  return 1;
}

static void copied(char *to, size_t room, const char *from) {
  size_t n = 0;
  while (*from == ' ') from++;
  while (n + 1 < room && from[n] > ' ') to[n] = from[n], n++;
  to[n] = 0;
}

static void take(Request *r, char *name, char *value) {
  if (!strcasecmp(name, "content-length")) r->length = atol(value);
  else if (!strcasecmp(name, "transfer-encoding")) r->chunked = 1;
  else if (!strcasecmp(name, "expect")) r->waits = 1;
  else if (!strcasecmp(name, "x-amz-trailer")) r->trails = !!strcasestr(value, "crc64nvme");
  else if (!strcasecmp(name, "connection")) r->closes = !!strcasestr(value, "close");
  else if (!strncasecmp(name, "x-amz-checksum-", 15) && strcasecmp(name + 15, "algorithm") && strcasecmp(name + 15, "type")) {
    copied(r->checksum_name, sizeof r->checksum_name, name);
    copied(r->checksum, sizeof r->checksum, value);
  }
}

/* Drop a body with its checksum behind it, and take that: "x-amz-checksum-crc64nvme:" and 12 characters. */
static int dropped_before_trailer(Connection *c, Request *r) {
  enum { TRAILER = 37 + 4 };
  ssize_t line;
  if (r->length < TRAILER || !dropped(c, r->length - TRAILER) || (line = until(c, "\r\n\r\n")) < 0) return 0;
  c->data[line] = 0;
  char *colon = strchr(c->data, ':');
  if (colon) *colon = 0, take(r, c->data, colon + 1);
  used(c, line + 4);
  return 1;
}

static int asked(Connection *c, Request *r) {
  ssize_t length = until(c, "\r\n\r\n");
  if (length < 0) return 0;
  memset(r, 0, sizeof *r);
  c->data[length] = 0;
  if (sscanf(c->data, "%7s %4095s", r->method, r->target) != 2) return 0;
  for (char *line = strstr(c->data, "\r\n"); line; ) {
    char *name = line + 2, *next = strstr(name, "\r\n"), *colon;
    if (next) *next = 0;
    if ((colon = strchr(name, ':'))) *colon = 0, take(r, name, colon + 1);
    line = next;
  }
  used(c, length + 4);
  if (r->waits && !answer(c, "HTTP/1.1 100 Continue\r\n\r\n", 25)) return 0;
  if (r->trails && !r->chunked) return dropped_before_trailer(c, r);
  return r->chunked ? dropped_chunks(c) : dropped(c, r->length);
}

/* ---- answers ---- */

static const char *created = "<InitiateMultipartUploadResult " NAMESPACE "><Bucket>b</Bucket><Key>k</Key><UploadId>u-%ld"
                             "</UploadId></InitiateMultipartUploadResult>";
static const char *listed = "<ListBucketResult " NAMESPACE "><Name>b</Name><Prefix></Prefix><KeyCount>0</KeyCount>"
                            "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>";

static void completed(char *body, size_t room, const Request *r) {
  int is_crc = !strcasecmp(r->checksum_name, "x-amz-checksum-crc64nvme");
  snprintf(body, room, "<CompleteMultipartUploadResult " NAMESPACE "><Bucket>b</Bucket><Key>k</Key><ETag>\"e-1\"</ETag>"
           "%s%s%s</CompleteMultipartUploadResult>", is_crc ? "<ChecksumCRC64NVME>" : "", is_crc ? r->checksum : "",
           is_crc ? "</ChecksumCRC64NVME>" : "");
}

static const char *counted(char *body, size_t room) {
  snprintf(body, room, "{\"connections\": %ld, \"requests\": %ld, \"bytes\": %ld}", atomic_exchange(&connections, 0),
           atomic_exchange(&requests, 0), atomic_exchange(&bytes, 0));
  return "200 OK";
}

/* Write the body of the answer to `r`, return its status line. */
static const char *answered(const Request *r, char *body, size_t room) {
  const char *query = strchr(r->target, '?');
  const char *slash = strchr(r->target + 1, '/');
  int is_object = slash && (!query || slash < query) && slash[1] && slash + 1 != query;
  body[0] = 0;
  if (!strcmp(r->method, "PUT")) return "200 OK";
  if (!strcmp(r->method, "DELETE")) return "204 No Content";
  if (!strcmp(r->method, "POST") && query && strstr(query, "uploadId=")) return completed(body, room, r), "200 OK";
  if (!strcmp(r->method, "POST")) return snprintf(body, room, created, atomic_fetch_add(&uploads, 1)), "200 OK";
  if (!strcmp(r->target, "/__counts")) return counted(body, room);
  if (!is_object) return snprintf(body, room, "%s", listed), "200 OK";
  snprintf(body, room, "<Error><Code>NoSuchKey</Code><Message>nothing is kept here</Message></Error>");
  return "404 Not Found";
}

static int served(Connection *c, const Request *r) {
  char body[1024], text[2048], checksum[160] = "";
  const char *status = answered(r, body, sizeof body);
  int is_head = !strcmp(r->method, "HEAD"), is_put = !strcmp(r->method, "PUT");
  if (is_put && r->checksum[0]) snprintf(checksum, sizeof checksum, "%s: %s\r\n", r->checksum_name, r->checksum);
  int length = snprintf(text, sizeof text,
      "HTTP/1.1 %s\r\nServer: sink\r\nx-amz-request-id: 0123456789ABCDEF\r\n%s%sContent-Type: application/xml\r\n"
      "Content-Length: %zu\r\n\r\n%s", status, is_put ? "ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n" : "", checksum,
      is_head ? 0 : strlen(body), is_head ? "" : body);
  atomic_fetch_add(&requests, 1);
  if (delay_ms) rest(delay_ms / 1e3);
  return answer(c, text, length) && !r->closes;
}

static void *talk(void *argument) {
  Connection *c = argument;
  Request r;
  int is_open = 1;
  if (tls) {
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    is_open = SSL_accept(c->ssl) == 1;
  }
  while (is_open && asked(c, &r)) is_open = served(c, &r);
  if (c->ssl) SSL_free(c->ssl);
  close(c->fd);
  free(c);
  return NULL;
}

/* ---- set up ---- */

static void *watch(void *argument) {
  char byte;
  while (read(0, &byte, 1) > 0) {}
  exit(0);
  return argument;
}

static void secure(const char *chain, const char *key) {
  tls = SSL_CTX_new(TLS_server_method());
  if (SSL_CTX_use_certificate_chain_file(tls, chain) != 1 || SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
    fprintf(stderr, "sink: can't use %s and %s\n", chain, key);
    exit(1);
  }
  /* The same cipher for every client: OpenSSL's would ask for AES-256 first, Go's for AES-128. */
  SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384");
  SSL_CTX_set_options(tls, SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_read_ahead(tls, 1);
  SSL_CTX_set_default_read_buffer_len(tls, PIECE);
}

static int opened(void) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&at, size) || listen(fd, 4096) || getsockname(fd, (struct sockaddr *)&at, &size)) {
    perror("sink");
    exit(1);
  }
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  return fd;
}

static void adopt(int fd, pthread_attr_t *attributes) {
  int one = 1, small = 256 << 10;
  pthread_t thread;
  Connection *c = calloc(1, sizeof *c);
  c->fd = fd;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (cap || total) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  atomic_fetch_add(&connections, 1);
  if (pthread_create(&thread, attributes, talk, c)) close(fd), free(c);
}

int main(int argc, char **argv) {
  const char *chain = NULL, *key = NULL;
  for (int option; (option = getopt(argc, argv, "c:k:d:b:t:")) != -1;) {
    if (option == 'c') chain = optarg;
    else if (option == 'k') key = optarg;
    else if (option == 'd') delay_ms = atol(optarg);
    else if (option == 'b') cap = atol(optarg);
    else if (option == 't') total = atol(optarg);
    else return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  if (chain) secure(chain, key);
  pthread_t watcher;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 768 << 10);
  pthread_create(&watcher, NULL, watch, NULL);
  int door = opened();
  for (int fd; (fd = accept(door, NULL, NULL)) >= 0;) adopt(fd, &attributes);
  perror("sink");
  return 1;
}

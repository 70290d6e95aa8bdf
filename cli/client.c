/* SPDX-License-Identifier: MIT */
/* One connection a request: the daemon is local, and a fresh one cannot be stale. */
#include "config.h"

#include "cli/client.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/mono.h"
#include "cli/out.h"
#include "wire/apijson.h"
#include "wire/http1.h"

#define DEFAULT_SOCKET	 "/run/meshd/meshd.sock"
#define TAILSCALE_SOCKET "/var/run/tailscale/tailscaled.sock"
#define API_HOST	 "local-tailscaled.sock"

enum { BODY_MAX = 64 << 20, HEAD_SIZE = 2048, READ_SIZE = 16 << 10, LINE_MAX_SIZE = 16 << 20, ARG_TEXT = 1024 };

struct client_stream {
	int fd;
	struct http1 http;
	struct bytes in;   /* received, not parsed */
	struct bytes text; /* parsed body */
	size_t taken;      /* of 'text', by the line given out last */
	bool ended;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* --- finding the daemon --- */

static const char *daemon_name(const struct cli *c)
{
	return c->compat ? "tailscaled" : "meshd";
}

static const char *socket_path(const struct cli *c)
{
	const char *own = getenv("MESHD_SOCKET"), *ts = getenv("TS_SOCKET");

	if (c->socket)
		return c->socket;
	if (own && *own)
		return own;
	if (ts && *ts)
		return ts;
	if (c->compat && access(DEFAULT_SOCKET, F_OK) != 0 && access(TAILSCALE_SOCKET, F_OK) == 0)
		return TAILSCALE_SOCKET;
	return DEFAULT_SOCKET;
}

/* Pid of a process of that name, or 0. */
static long find_process(const char *name)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	long found = 0;

	while (d && !found && (e = readdir(d))) {
		char path[300], comm[32] = "";
		FILE *f;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f)) {
			comm[strcspn(comm, "\n")] = 0;
			if (strcmp(comm, name) == 0)
				found = strtol(e->d_name, NULL, 10);
		}
		(void)fclose(f);
	}
	if (d)
		(void)closedir(d);
	return found;
}

/* Why there is no connection (cli 0.2). */
static int no_daemon(struct cli *c, const char *path, const char *request, int err)
{
	const char *name = daemon_name(c);
	long pid;

	if (err == EACCES || err == EPERM) {
		(void)out_error(c, "permission denied: %s", path);
		return EXIT_DENIED;
	}
	pid = find_process(name);
	if (pid && c->compat)
		(void)out_error(c, "failed to connect to local tailscaled (which appears to be running as "
				   "tailscaled, pid %ld). Got error: Failed to connect to local Tailscale daemon "
				   "for /localapi/v0/%s; not running? Error: dial unix %s: connect: %s",
				pid, request, path,
				err == ENOENT ? "no such file or directory" :
				err == ECONNREFUSED ? "connection refused" : strerror(err));
	else if (pid)
		(void)out_error(c, "meshd (pid %ld) is running but %s says: %s", pid, path, strerror(err));
	else
		(void)out_error(c, "failed to connect to local %s; it doesn't appear to be running%s%s%s", name,
				access("/run/systemd/system", F_OK) == 0 ? " (sudo systemctl start " : "",
				access("/run/systemd/system", F_OK) == 0 ? name : "",
				access("/run/systemd/system", F_OK) == 0 ? " ?)" : "");
	if (!pid && !c->compat && err == ECONNREFUSED)
		(void)fprintf(c->err, "# %s is a stale socket: connection refused\n", path);
	return EXIT_NO_DAEMON;
}

static int dial(struct cli *c, const char *request, int *fd_out)
{
	const char *path = socket_path(c);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		(void)out_error(c, "the socket's path is too long: %.120s…", path);
		return EXIT_NO_DAEMON;
	}
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return out_error(c, "cannot make a socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		int err = errno;

		(void)close(fd);
		return no_daemon(c, path, request, err);
	}
	*fd_out = fd;
	return EXIT_OK;
}

/* --- one exchange --- */

static int send_all(int fd, const void *buf, size_t size)
{
	const char *p = buf;

	while (size) {
		ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

/* As the stock program sends it: base64 (apitype.RequestReasonHeader). */
static void write_reason(struct wr *w, const char *reason)
{
	char text[sodium_base64_ENCODED_LEN(CLIENT_REASON_MAX, sodium_base64_VARIANT_ORIGINAL)];

	sodium_bin2base64(text, sizeof(text), (const uint8_t *)reason, strlen(reason), sodium_base64_VARIANT_ORIGINAL);
	http1_write_header(w, "X-Tailscale-Reason", text);
}

static int send_request(const struct cli *c, int fd, const char *method, const char *path, const void *body, size_t size)
{
	uint8_t head[HEAD_SIZE];
	struct wr w = WR(head, sizeof(head));
	char target[HEAD_SIZE / 2];
	int n = snprintf(target, sizeof(target), "/localapi/v0/%s", path);

	if (n < 0 || (size_t)n >= sizeof(target))
		return -ENAMETOOLONG;
	http1_write_request(&w, method, target, API_HOST);
	http1_write_header_u64(&w, "Tailscale-Cap", API_CAP_VERSION);
	if (size || strcmp(method, "GET") != 0)
		http1_write_header_u64(&w, "Content-Length", size);
	if (size)
		http1_write_header(&w, "Content-Type", "application/json");
	if (c->reason && *c->reason && strcmp(method, "GET") != 0)
		write_reason(&w, c->reason);
	http1_write_end(&w);
	if (w.bad)
		return -EINVAL; /* characters that no request line may hold */
	n = send_all(fd, head, wr_used(&w, sizeof(head)));
	return n ? n : send_all(fd, body, size);
}

/* Reads more bytes into 's->in'. Returns 0; -ETIMEDOUT; -EPIPE at the end; another negative errno. */
static int read_more(struct client_stream *s, int64_t deadline_ms)
{
	uint8_t *room = bytes_room(&s->in, READ_SIZE);
	ssize_t n;

	if (!room)
		return -ENOMEM;
	if (deadline_ms >= 0) {
		struct pollfd p = { .fd = s->fd, .events = POLLIN };
		int64_t left = deadline_ms - now_ms();

		if (left < 0)
			left = 0;
		n = poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0)
			return errno == EINTR ? 0 : -errno;
	}
	do {
		n = recv(s->fd, room, READ_SIZE, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	if (n == 0)
		return -EPIPE;
	bytes_commit(&s->in, (size_t)n);
	return 0;
}

/* The next event of the answer; body pieces go to 's->text'. */
static int next_event(struct client_stream *s, int64_t deadline_ms, enum http1_event *ev)
{
	for (;;) {
		size_t used = 0;
		int err = http1_input(&s->http, bytes_data(&s->in), bytes_size(&s->in), &used, ev);

		if (!err && *ev == HTTP1_BODY)
			err = bytes_append(&s->text, s->http.body, s->http.body_size);
		bytes_consume(&s->in, used);
		if (err || *ev != HTTP1_MORE)
			return err;
		err = read_more(s, deadline_ms);
		if (err == -EPIPE)
			return http1_eof(&s->http, ev) == 0 && *ev == HTTP1_END ? 0 : -EPIPE;
		if (err)
			return err;
	}
}

static void warn_version(struct cli *c, const struct http1 *h)
{
	const char *theirs = http1_get(h, "Meshd-Version");
	const char *ours = API_MESHD_VERSION;

	if (!theirs || !*theirs) {
		theirs = http1_get(h, "Tailscale-Version");
		ours = API_VERSION_SHORT;
	}
	if (theirs && *theirs && strcmp(theirs, ours) != 0 && !c->warned_version) {
		char safe[100];

		(void)fprintf(c->err, "Warning: client version \"%s\" != tailscaled server version \"%s\"\n",
			      ours, out_safe(safe, sizeof(safe), theirs));
		c->warned_version = true;
	}
}

static int exchange_failed(struct cli *c, int err)
{
	if (err == -ETIMEDOUT) {
		if (!c->quiet_timeout)
			(void)out_error(c, "timed out waiting for %s", daemon_name(c));
		return EXIT_TIMEOUT;
	}
	if (err == -EPIPE) {
		(void)out_error(c, "%s closed the connection before its answer was complete", daemon_name(c));
		return EXIT_NO_DAEMON;
	}
	return out_error(c, "talking to %s failed: %s", daemon_name(c), strerror(-err));
}

static struct client_stream *stream_new(int fd)
{
	struct client_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fd = fd;
	s->text.max = BODY_MAX;
	http1_init(&s->http, HTTP1_RESPONSES, UINT64_MAX);
	return s;
}

int client_request(struct cli *c, const char *method, const char *path, const void *body, size_t size,
		   int timeout_ms, struct client_reply *r)
{
	int64_t deadline = timeout_ms > 0 ? now_ms() + timeout_ms : -1;
	enum http1_event ev = HTTP1_MORE;
	struct client_stream *s;
	int fd = -1, err = dial(c, path, &fd);

	memset(r, 0, sizeof(*r));
	if (err)
		return err;
	s = stream_new(fd);
	if (!s) {
		(void)close(fd);
		return out_error(c, "out of memory");
	}
	err = send_request(c, fd, method, path, body, size);
	while (!err && ev != HTTP1_END) {
		err = next_event(s, deadline, &ev);
		if (!err && ev == HTTP1_HEAD)
			warn_version(c, &s->http);
	}
	r->status = s->http.status;
	/* A NUL behind the text, which is not counted. */
	if (!err)
		err = bytes_append(&s->text, "", 1);
	if (!err) {
		s->text.tail--;
		r->body = s->text;
		s->text = (struct bytes){ 0 };
	}
	client_stream_close(s);
	return err ? exchange_failed(c, err) : EXIT_OK;
}

void client_reply_wipe(struct client_reply *r)
{
	bytes_wipe(&r->body);
	r->status = 0;
}

void client_error_text(const struct client_reply *r, char *text, size_t size)
{
	const char *body = bytes_data(&r->body) ? (const char *)bytes_data(&r->body) : "";
	cJSON *json = json_parse(body, bytes_size(&r->body), 0, NULL);
	const cJSON *v = cJSON_IsObject(json) ? json_get(json, "Error") : NULL;

	if (!v && cJSON_IsObject(json))
		v = json_get(json, "error");
	(void)out_safe(text, size, cJSON_IsString(v) ? v->valuestring : "");
	if (!*text) {
		char line[PREFS_ERR_MAX * 2];

		(void)snprintf(line, sizeof(line), "%.*s", (int)strcspn(body, "\n"), body);
		(void)out_safe(text, size, line);
	}
	cJSON_Delete(json);
}

/* The command line as typed, for the hint with sudo. */
static void put_args(struct cli *c, char *text, size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (int i = 1; i < c->argc && used < size; i++) {
		char word[ARG_TEXT];

		used += (size_t)snprintf(text + used, size - used, " %s", out_shell_word(word, sizeof(word), c->argv[i]));
	}
	text[size - 1] = 0;
	prefval_mask_secrets(text);
}

int client_check(struct cli *c, const struct client_reply *r)
{
	char text[PREFS_ERR_MAX * 2], args[ARG_TEXT], safe[ARG_TEXT];

	if (r->status >= 200 && r->status < 300)
		return EXIT_OK;
	client_error_text(r, text, sizeof(text));
	if (r->status == 403) {
		(void)out_error(c, "Access denied: %s", text);
		if (geteuid() != 0) {
			put_args(c, args, sizeof(args));
			(void)fprintf(c->err,
				      "\nUse 'sudo %s%s'.\n", c->prog, out_safe(safe, sizeof(safe), args));
			/* The operator is not root either. */
			if (strcmp(text, "only root may do this") != 0)
				(void)fprintf(c->err, "To not require root, use 'sudo %s set --operator=$USER' once.\n",
					      c->prog);
		}
		return EXIT_DENIED;
	}
	if (r->status == 412)
		return out_error(c, "Preconditions failed: %s", text);
	if (r->status == 501) {
		(void)out_error(c, "%s", *text ? text : "feature not included in this build");
		return EXIT_UNSUPPORTED;
	}
	if (*text)
		return out_error(c, "%s", text);
	return out_error(c, "%s answered with HTTP status %d", daemon_name(c), r->status);
}

int client_call(struct cli *c, const char *method, const char *path, const void *body, size_t size,
		struct client_reply *r)
{
	int err = client_request(c, method, path, body, size, 0, r);

	if (!err) {
		err = client_check(c, r);
		if (err)
			client_reply_wipe(r);
	}
	return err;
}

/* --- streams --- */

int client_stream_open(struct cli *c, const char *path, struct client_stream **out)
{
	enum http1_event ev = HTTP1_MORE;
	struct client_stream *s;
	int fd = -1, err = dial(c, path, &fd);

	if (err)
		return err;
	s = stream_new(fd);
	if (!s) {
		(void)close(fd);
		return out_error(c, "out of memory");
	}
	err = send_request(c, fd, "GET", path, NULL, 0);
	if (!err)
		err = next_event(s, -1, &ev);
	if (!err && ev == HTTP1_HEAD)
		warn_version(c, &s->http);
	if (!err && s->http.status != 200) {
		struct client_reply r = { .status = s->http.status };

		while (!err && ev != HTTP1_END)
			err = next_event(s, -1, &ev);
		if (!err)
			err = bytes_append(&s->text, "", 1);
		if (!err) {
			r.body = s->text;
			r.body.tail--;
			err = client_check(c, &r);
			client_stream_close(s);
			return err;
		}
	}
	if (err) {
		client_stream_close(s);
		return exchange_failed(c, err);
	}
	*out = s;
	return EXIT_OK;
}

int client_stream_line(struct client_stream *s, int timeout_ms, const char **line, size_t *len)
{
	int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;

	bytes_consume(&s->text, s->taken);
	s->taken = 0;
	for (;;) {
		const char *text = (const char *)bytes_data(&s->text);
		size_t size = bytes_size(&s->text);
		const char *end = size ? memchr(text, '\n', size) : NULL;
		enum http1_event ev;
		int err;

		if (end) {
			*line = text;
			*len = (size_t)(end - text);
			s->taken = *len + 1;
			return 0;
		}
		if (size > LINE_MAX_SIZE)
			return -EMSGSIZE;
		err = s->ended ? -EPIPE : next_event(s, deadline, &ev);
		if (err)
			return err;
		s->ended = ev == HTTP1_END;
	}
}

void client_stream_close(struct client_stream *s)
{
	if (!s)
		return;
	(void)close(s->fd);
	bytes_wipe(&s->in);
	bytes_wipe(&s->text);
	free(s);
}

void client_query_escape(struct bytes *to, const char *value)
{
	for (; *value; value++) {
		unsigned char ch = (unsigned char)*value;
		char text[4];
		int n;

		if (isalnum(ch) || ch == '-' || ch == '.' || ch == '_' || ch == '~')
			n = snprintf(text, sizeof(text), "%c", ch);
		else
			n = snprintf(text, sizeof(text), "%%%02X", ch);
		if (bytes_append(to, text, (size_t)n))
			abort();
	}
}

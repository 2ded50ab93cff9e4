/*
 * hang DIRECTORY: reads standard input into memory. A file system of its own backs this memory, and never
 * answers. The kernel then keeps the terminal's lock while this process lives. Any process that asks the
 * terminal for something waits, and no signal ends this wait. This needs no privilege: only a user namespace
 * and FUSE.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOREVER 9999

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void describe(struct fuse_attr *attr, unsigned long node)
{
	attr->ino = node;
	attr->size = 4096;
	attr->mode = node == FUSE_ROOT_ID ? S_IFDIR | 0777 : S_IFREG | 0666;
	attr->nlink = 1;
	attr->uid = getuid();
	attr->gid = getgid();
}

/* Answers all requests before a read, but not the read itself. */
static void serve(int fuse)
{
	static char request[1 << 17];
	for (;;) {
		struct fuse_in_header *in = (void *)request;
		union {
			struct fuse_init_out init;
			struct fuse_entry_out entry;
			struct fuse_attr_out attr;
			struct fuse_open_out open;
		} body;
		struct fuse_out_header out;
		char answer[sizeof out + sizeof body];
		size_t size = 0;

		if (read(fuse, request, sizeof request) <= 0)
			continue;
		memset(&body, 0, sizeof body);
		memset(&out, 0, sizeof out);
		out.unique = in->unique;
		switch (in->opcode) {
		case FUSE_INIT:
			body.init.major = FUSE_KERNEL_VERSION;
			body.init.minor = 31;
			body.init.max_write = 4096;
			size = sizeof body.init;
			break;
		case FUSE_LOOKUP:
			body.entry.nodeid = FUSE_ROOT_ID + 1;
			body.entry.attr_valid = body.entry.entry_valid = FOREVER;
			describe(&body.entry.attr, FUSE_ROOT_ID + 1);
			size = sizeof body.entry;
			break;
		case FUSE_GETATTR:
			body.attr.attr_valid = FOREVER;
			describe(&body.attr.attr, in->nodeid);
			size = sizeof body.attr;
			break;
		case FUSE_OPEN:
			size = sizeof body.open;
			break;
		case FUSE_READ:
			printf("the terminal%s\r\n", " hangs");
			fflush(stdout);
			continue;
		case FUSE_FORGET:
			continue;
		default:
			out.error = -ENOSYS;
		}
		out.len = sizeof out + size;
		memcpy(answer, &out, sizeof out);
		memcpy(answer + sizeof out, &body, size);
		if (write(fuse, answer, out.len) < 0)
			perror("answer");
	}
}

int main(int argc, char **argv)
{
	char text[4096];
	int uid = getuid(), gid = getgid(), fuse, file;
	void *memory;

	if (argc != 2)
		return 2;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		die("unshare");
	put("/proc/self/setgroups", "deny");
	snprintf(text, sizeof text, "%d %d 1", uid, uid);
	put("/proc/self/uid_map", text);
	snprintf(text, sizeof text, "%d %d 1", gid, gid);
	put("/proc/self/gid_map", text);
	mkdir(argv[1], 0700);
	fuse = open("/dev/fuse", O_RDWR);
	if (fuse < 0)
		die("/dev/fuse");
	snprintf(text, sizeof text, "fd=%d,rootmode=40000,user_id=%d,group_id=%d", fuse, uid, gid);
	if (mount("hang", argv[1], "fuse", 0, text))
		die("mount");
	if (fork() == 0)
		serve(fuse);
	close(fuse);
	snprintf(text, sizeof text, "%s/file", argv[1]);
	file = open(text, O_RDWR);
	if (file < 0)
		die(text);
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	printf("reading%s\r\n", " now");
	fflush(stdout);
	return read(0, memory, 4096) < 0;
}

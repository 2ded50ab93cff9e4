/* A name service for the tests. It writes each question into the file LOG. While the file DOWN exists,
 * its directory is down: it does not know a user's groups, and returns ECONNREFUSED. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <nss.h>
#include <string.h>
#include <unistd.h>

static void note(const char *what, const char *name)
{
	int fd = open(LOG, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	char line[300] = "";

	strcat(strcat(line, what), " ");
	strncat(line, name, 200);
	strcat(line, "\n");
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		_exit(99);
	close(fd);
}

/* Its only group. Only the other function tells its members, as sss does by default. */
enum nss_status _nss_counting_getgrnam_r(const char *name, struct group *group, char *buffer, size_t size,
					 int *errnop)
{
	note("group", name);
	if (strcmp(name, "far-away") != 0) {
		*errnop = ENOENT;
		return NSS_STATUS_NOTFOUND;
	}
	if (size < sizeof(char *) + 16) {
		*errnop = ERANGE;
		return NSS_STATUS_TRYAGAIN;
	}
	group->gr_mem = (char **)buffer;
	group->gr_mem[0] = NULL;
	group->gr_name = strcpy(buffer + sizeof(char *), "far-away");
	group->gr_passwd = group->gr_name + strlen("far-away");
	group->gr_gid = 47110;
	return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_counting_initgroups_dyn(const char *user, gid_t group, long *start, long *size,
					     gid_t **groups, long limit, int *errnop)
{
	(void)group;
	(void)limit;
	note("groups", user);
	if (access(DOWN, F_OK) == 0) {
		*errnop = ECONNREFUSED;
		return NSS_STATUS_UNAVAIL;
	}
	if (strcmp(user, "daemon") == 0 && *start < *size)
		(*groups)[(*start)++] = 47110;
	*errnop = ENOENT;
	return NSS_STATUS_NOTFOUND;
}

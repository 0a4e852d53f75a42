/* Sockets on the loopback. */
#ifndef NET_H
#define NET_H
#include "base.h"
#include <netinet/in.h>

/* "127.0.0.1:8000". Anything that is not on the loopback is refused: this is a load generator. */
struct sockaddr_in net_address(const char *text);
int net_listen(int *port);                     /* on a port that the kernel chooses */
int net_connect(const struct sockaddr_in *to, bool blocking); /* -1 and errno on failure */
void net_nodelay(int fd);
void net_raise_file_limit(void);
#endif

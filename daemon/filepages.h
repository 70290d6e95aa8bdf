/* SPDX-License-Identifier: MIT */
/* The resident pages of the program's and its libraries' files.
 *
 * Start-up, self-tests, a TLS handshake and a first network map run through megabytes of code and tables that a
 * node at rest never looks at again, and the kernel keeps them in the process as long as memory is plenty. They
 * are clean pages of files: given back, they stay in the page cache, and what is used again is mapped again at
 * once, sixteen pages a fault. */
#ifndef DAEMON_FILEPAGES_H
#define DAEMON_FILEPAGES_H

/* Gives back the pages of all segments that nobody can have written to. Costs below a millisecond, now and in
 * faults afterwards: for after a burst of work, not for every turn. Any thread. */
void filepages_release(void);

#endif

/* SPDX-License-Identifier: MIT */
/* Local API of the coordinator role, below /localapi/v0/meshd/coordinator/:
 *
 *   GET  status        everybody; answered also while the role is off
 *   POST enable        {"URL","Listen","Domain","STUNPort","Cert","Key","BehindProxy","Pool4","NodeExpiryS"}
 *                      -> {"URL","Warnings":[line]}
 *   POST disable       -> {}
 *   POST admin/VERB    the verbs of netstack/coord/admin.h with their bodies and answers
 *
 * All but status are root's, reads included (cli 7b). Errors are {"Error":sentence} with the status of the verb.
 *
 * The daemon gives api_new() the role as '.coord', adds api_coord_table, and routes the role's events.reply to
 * api_coord_reply(). Control thread only. */
#ifndef DAEMON_API_COORD_H
#define DAEMON_API_COORD_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/api.h"

extern const struct api_table api_coord_table;

/* The answer of coordrole_admin(); 'call' is the request's token. */
void api_coord_reply(struct api *api, uint64_t call, unsigned status, const char *json, size_t size);

#endif

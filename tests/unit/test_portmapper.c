/* SPDX-License-Identifier: MIT */
/* wire/pcp on the port-mapping vectors, and which jobs path/portmapper wants when. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "path/portmapper.h"

/* ---- codec ---- */

static uint8_t *vector(const char *name, size_t *size)
{
	cJSON *all = test_vectors("stun.json");
	const cJSON *v;
	uint8_t *b = NULL;

	cJSON_ArrayForEach(v, test_get(all, "vectors"))
		if (strcmp(test_str(v, "name"), name) == 0)
			b = test_unhex_dup(test_str(v, "hex"), size);
	assert_non_null(b);
	cJSON_Delete(all);
	return b;
}

static void pcp_requests_are_those_of_the_vectors(void **state)
{
	const struct ip client = ip4(127, 0, 0, 1);
	struct pcp_map map = { .client = client, .port = 41641, .life_s = 7200 };
	uint8_t out[PCP_MAP_SIZE], *want;
	size_t size;

	(void)state;
	want = vector("pcp_announce_request", &size);
	assert_int_equal(size, PCP_HEADER_SIZE);
	pcp_announce_write(out, &client);
	assert_memory_equal(out, want, size);
	free(want);
	want = vector("pcp_map_request", &size);
	assert_int_equal(size, PCP_MAP_SIZE);
	pcp_map_write(out, &map);
	assert_memory_equal(out, want, size);
	free(want);
	want = vector("pcp_delete_request", &size);
	map.life_s = 0;
	map.external = (struct ep){ .ip = ip4(203, 0, 113, 6), .port = 50000 };
	pcp_map_write(out, &map);
	assert_memory_equal(out, want, size);
	free(want);
}

static void pcp_answers_are_read_and_short_ones_refused(void **state)
{
	struct pcp_answer a = { .op = 9 };
	size_t size;
	uint8_t *b = vector("pcp_announce_response", &size);

	(void)state;
	assert_int_equal(pcp_answer_parse(&a, b, size), 0);
	assert_int_equal(a.op, PCP_OP_ANNOUNCE);
	assert_int_equal(a.epoch, 100);
	for (size_t n = 0; n < size; n++)
		assert_int_equal(pcp_answer_parse(&a, b, n), -EBADMSG);
	free(b);
	b = vector("pcp_map_response", &size);
	assert_int_equal(pcp_answer_parse(&a, b, size), 0);
	assert_int_equal(a.life_s, 3600);
	assert_int_equal(a.epoch, 200);
	assert_int_equal(a.port, 41641);
	assert_int_equal(a.external.port, 50000);
	assert_true(ip_eq(&a.external.ip, &(struct ip){ IP_V4, { 203, 0, 113, 6 } }));
	for (size_t n = 0; n < size; n++)
		assert_int_equal(pcp_answer_parse(&a, b, n), -EBADMSG);
	b[36] = 6; /* TCP */
	assert_int_equal(pcp_answer_parse(&a, b, size), -EBADMSG);
	b[3] = 2; /* not authorised: the rest does not matter */
	assert_int_equal(pcp_answer_parse(&a, b, size), 0);
	assert_int_equal(a.result, 2);
	b[0] = 0; /* NAT-PMP */
	assert_int_equal(pcp_answer_parse(&a, b, size), -EBADMSG);
	free(b);
}

/* ---- machine ---- */

struct rig {
	struct test_env te;
	struct portmapper p;
	struct mono now;
	struct portmapper_job job; /* the last one */
	int n_jobs, n_changes;
};

enum { UPNP = 1 << PORTMAPPER_UPNP, QUICK = PORTMAPPER_ALL - UPNP };

static const struct ip GW = { IP_V4, { 192, 168, 1, 1 } }, SELF = { IP_V4, { 192, 168, 1, 9 } };
static const struct ep EXT = { .ip = { IP_V4, { 198, 51, 100, 7 } }, .port = 50123 };

static void drain(struct rig *r)
{
	struct portmapper_out out;

	portmapper_tick(&r->p, r->now);
	while (portmapper_poll(&r->p, r->now, &out)) {
		if (out.kind == PORTMAPPER_CHANGED) {
			r->n_changes++;
			continue;
		}
		r->n_jobs++;
		r->job = out.job;
	}
}

static void pass(struct rig *r, int64_t s)
{
	const struct mono end = mono_add_s(r->now, s);
	struct mono at;

	while (at = portmapper_deadline(&r->p), !mono_before(end, at)) {
		r->now = mono_max(at, r->now);
		drain(r);
		if (r->p.is_busy)
			break;
	}
	r->now = mono_max(end, r->now);
	drain(r);
}

static void done(struct rig *r, struct portmapper_result res)
{
	res.id = r->job.id;
	portmapper_done(&r->p, r->now, &res);
	drain(r);
}

static void answer_probe(struct rig *r, unsigned found, uint32_t epoch)
{
	assert_int_equal(r->job.kind, PORTMAPPER_PROBE);
	done(r, (struct portmapper_result){ .found = found, .has_epoch = true, .epoch = epoch });
}

/* The search for UPnP that follows. */
static void answer_upnp(struct rig *r, bool found)
{
	assert_int_equal(r->job.kind, PORTMAPPER_PROBE);
	assert_int_equal(r->job.methods, UPNP);
	done(r, (struct portmapper_result){ .found = found ? UPNP : 0 });
}

static void answer_map(struct rig *r, const struct ep *ext, uint32_t life_s)
{
	assert_int_equal(r->job.kind, PORTMAPPER_MAP);
	done(r, (struct portmapper_result){ .external = *ext, .life_s = life_s });
}

static struct ep external(const struct rig *r)
{
	return portmapper_external(&r->p, PORTMAPPER_MAIN);
}

/* On, behind a gateway, with a port; the first job is out. */
static void begin(struct rig *r, unsigned methods)
{
	*r = (struct rig){ .now = mono_add_s(MONO_ZERO, 100) };
	test_env_init(&r->te, 5);
	portmapper_init(&r->p, &r->te.env);
	portmapper_allow(&r->p, r->now, methods);
	portmapper_set_port(&r->p, r->now, PORTMAPPER_MAIN, 41641);
	drain(r);
	assert_int_equal(r->n_jobs, 0); /* no gateway yet */
	portmapper_set_gateway(&r->p, r->now, &GW, &SELF);
	drain(r);
	assert_int_equal(r->job.kind, PORTMAPPER_PROBE);
	assert_int_equal(r->job.methods, methods & QUICK);
}

/* Holds EXT by NAT-PMP for two hours. */
static void hold(struct rig *r)
{
	struct ep ep;

	begin(r, PORTMAPPER_ALL);
	answer_probe(r, 1 << PORTMAPPER_PMP, 1000);
	assert_int_equal(r->job.method, PORTMAPPER_PMP);
	answer_map(r, &EXT, 7200);
	ep = external(r);
	assert_true(ep_eq(&ep, &EXT));
	answer_upnp(r, false); /* what is there is shown, but was not waited for */
}

static void the_best_service_maps_and_is_renewed_at_half_life(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, PORTMAPPER_ALL);
	assert_int_equal(portmapper_found(&r.p, PORTMAPPER_PMP), TRI_UNSET);
	answer_probe(&r, 1 << PORTMAPPER_PMP, 1);
	assert_int_equal(portmapper_found(&r.p, PORTMAPPER_PMP), TRI_TRUE);
	assert_int_equal(portmapper_found(&r.p, PORTMAPPER_PCP), TRI_FALSE);
	assert_int_equal(r.job.kind, PORTMAPPER_MAP);
	assert_int_equal(r.job.method, PORTMAPPER_PMP);
	assert_int_equal(r.job.port, 41641);
	assert_int_equal(r.job.external.port, 0);
	assert_int_equal(r.job.life_s, 7200);
	answer_map(&r, &EXT, 3600);
	assert_int_equal(r.n_changes, 2);
	answer_upnp(&r, true);
	assert_int_equal(portmapper_found(&r.p, PORTMAPPER_UPNP), TRI_TRUE);
	r.n_changes = r.n_jobs = 0;
	pass(&r, 1799);
	assert_int_equal(r.n_jobs, 0);
	pass(&r, 1);
	assert_int_equal(r.n_jobs, 1);
	assert_int_equal(r.job.external.port, EXT.port); /* the former one is wanted again */
	answer_map(&r, &EXT, 3600);
	assert_int_equal(r.n_changes, 0); /* nothing new */
}

static void a_mapping_is_served_until_it_expires_while_renewal_fails(void **state)
{
	struct rig r;
	struct ep ep;

	(void)state;
	hold(&r);
	pass(&r, 3600);
	while (mono_before(r.now, mono_add_s(MONO_ZERO, 100 + 7200 - 31))) {
		assert_int_equal(r.job.kind, PORTMAPPER_MAP);
		done(&r, (struct portmapper_result){ .err = -ETIMEDOUT });
		ep = external(&r);
		assert_true(ep_eq(&ep, &EXT));
		pass(&r, PORTMAPPER_AGAIN_S);
	}
	done(&r, (struct portmapper_result){ .err = -ETIMEDOUT });
	r.n_changes = 0;
	pass(&r, 40);
	ep = external(&r);
	assert_false(ep_is_set(&ep));
	assert_int_equal(r.n_changes, 1);
}

static void without_an_answer_the_next_method_is_tried_after_a_refusal_none(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, PORTMAPPER_ALL);
	answer_probe(&r, 1 << PORTMAPPER_PMP | 1 << PORTMAPPER_PCP, 1);
	done(&r, (struct portmapper_result){ .err = -ETIMEDOUT });
	assert_int_equal(r.job.method, PORTMAPPER_PCP);
	done(&r, (struct portmapper_result){ .err = -ETIMEDOUT });
	answer_upnp(&r, true);
	assert_int_equal(r.job.kind, PORTMAPPER_MAP);
	assert_int_equal(r.job.method, PORTMAPPER_UPNP);
	assert_in_range(r.job.external.port, 1024, 65534);
	r.n_jobs = 0;
	done(&r, (struct portmapper_result){ .err = -EACCES });
	pass(&r, PORTMAPPER_RETRY_S - 1);
	assert_int_equal(r.n_jobs, 0);
	pass(&r, 1);
	assert_int_equal(r.n_jobs, 1);
}

/* UPnP alone says so; the machine picks another port, at random and not for ever. */
static void a_port_that_is_taken_is_tried_elsewhere_twice(void **state)
{
	const struct portmapper_result taken = { .err = -EADDRINUSE };
	uint16_t ports[4] = { 0 };
	struct rig r;
	size_t n = 0;

	(void)state;
	begin(&r, PORTMAPPER_ALL);
	answer_probe(&r, 0, 0);
	answer_upnp(&r, true);
	while (r.p.is_busy && n < ARRAY_LEN(ports)) {
		assert_int_equal(r.job.kind, PORTMAPPER_MAP);
		assert_in_range(r.job.external.port, 1024, UINT16_MAX - 1);
		for (size_t i = 0; i < n; i++)
			assert_int_not_equal(ports[i], r.job.external.port);
		ports[n++] = r.job.external.port;
		done(&r, taken);
	}
	assert_int_equal(n, 1 + PORTMAPPER_CONFLICTS_MAX);
	/* Later, all of it again. */
	pass(&r, PORTMAPPER_RETRY_S);
	assert_true(r.p.is_busy);
	done(&r, taken);
	assert_true(r.p.is_busy);
	answer_map(&r, &EXT, 7200);
	assert_int_equal(external(&r).port, EXT.port);
	/* Taken by another while it was ours: the old one counts until there is a new one. */
	pass(&r, 3600);
	assert_true(r.p.is_busy);
	assert_int_equal(r.job.external.port, EXT.port);
	done(&r, taken);
	assert_true(r.p.is_busy);
	assert_int_not_equal(r.job.external.port, EXT.port);
	assert_int_equal(external(&r).port, EXT.port);
	portmapper_stop(&r.p, r.now);
}

static void addresses_that_nobody_could_reach_are_refused(void **state)
{
	static const struct ep bad[] = {
		{ .ip = { IP_V4, { 0 } }, .port = 1 },
		{ .ip = { IP_V4, { 127, 0, 0, 1 } }, .port = 1 },
		{ .ip = { IP_V4, { 10, 1, 2, 3 } }, .port = 1 },
		{ .ip = { IP_V4, { 100, 64, 0, 9 } }, .port = 1 },
		{ .ip = { IP_V4, { 169, 254, 1, 1 } }, .port = 1 },
		{ .ip = { IP_V4, { 224, 0, 0, 1 } }, .port = 1 },
		{ .ip = { IP_V4, { 198, 51, 100, 7 } }, .port = 0 },
		{ .ip = { IP_V6, { 0x20, 1 } }, .port = 1 },
	};
	struct rig r;
	struct ep ep;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		begin(&r, PORTMAPPER_ALL);
		answer_probe(&r, 1 << PORTMAPPER_PMP, 1);
		answer_map(&r, &bad[i], 7200);
		ep = external(&r);
		assert_false(ep_is_set(&ep));
		assert_int_equal(r.p.refused, 1);
		/* It is of no use to us, and takes the place of another. */
		assert_int_equal(r.job.kind == PORTMAPPER_UNMAP, bad[i].port != 0);
		if (bad[i].port)
			assert_int_equal(r.job.external.port, bad[i].port);
	}
}

static void a_younger_epoch_means_the_mapping_is_lost(void **state)
{
	struct rig r;
	struct ep ep;

	(void)state;
	hold(&r);
	pass(&r, 61);
	portmapper_want(&r.p, r.now, false);
	drain(&r);
	assert_int_equal(r.job.kind, PORTMAPPER_PROBE);
	assert_int_equal(r.job.methods, 1 << PORTMAPPER_PMP); /* nobody else tells the epoch */
	answer_probe(&r, 1 << PORTMAPPER_PMP, 1061);
	ep = external(&r);
	assert_true(ep_is_set(&ep));
	pass(&r, 4);
	portmapper_want(&r.p, r.now, false); /* a moment ago */
	drain(&r);
	assert_false(r.p.is_busy);
	pass(&r, 1);
	portmapper_want(&r.p, r.now, false);
	drain(&r);
	assert_true(r.p.is_busy);
	answer_probe(&r, 1 << PORTMAPPER_PMP, 3);
	ep = external(&r);
	assert_false(ep_is_set(&ep));
	assert_int_equal(r.job.kind, PORTMAPPER_MAP); /* at once again, the same port */
	assert_int_equal(r.job.external.port, EXT.port);
}

static void another_gateway_releases_and_forgets(void **state)
{
	const struct ip other = ip4(10, 0, 0, 1), public = ip4(198, 51, 100, 254);
	struct rig r;
	struct ep ep;

	(void)state;
	hold(&r);
	portmapper_set_gateway(&r.p, r.now, &other, &SELF);
	drain(&r);
	ep = external(&r);
	assert_false(ep_is_set(&ep));
	assert_int_equal(r.job.kind, PORTMAPPER_UNMAP);
	assert_true(ip_eq(&r.job.gateway, &GW)); /* the old one */
	assert_true(ep_eq(&r.job.external, &EXT));
	done(&r, (struct portmapper_result){ .err = -ETIMEDOUT });
	assert_int_equal(r.job.kind, PORTMAPPER_PROBE);
	assert_int_equal(r.job.methods, QUICK);
	/* Its answer comes when the network is another again: it does not count. */
	portmapper_set_gateway(&r.p, r.now, &public, &SELF);
	done(&r, (struct portmapper_result){ .found = PORTMAPPER_ALL });
	assert_int_equal(portmapper_found(&r.p, PORTMAPPER_PMP), TRI_UNSET);
	assert_false(r.p.is_busy); /* a public router is no gateway that maps */
}

static void another_port_releases_the_old_one(void **state)
{
	struct rig r;

	(void)state;
	hold(&r);
	portmapper_set_port(&r.p, r.now, PORTMAPPER_MAIN, 41642);
	drain(&r);
	assert_int_equal(r.job.kind, PORTMAPPER_UNMAP);
	assert_int_equal(r.job.port, 41641);
	done(&r, (struct portmapper_result){ .err = 0 });
	assert_int_equal(r.job.kind, PORTMAPPER_MAP);
	assert_int_equal(r.job.port, 41642);
	assert_int_equal(r.job.external.port, 0);
	/* Changed once more while that is asked for: what was mapped is given back. */
	portmapper_set_port(&r.p, r.now, PORTMAPPER_MAIN, 41643);
	answer_map(&r, &EXT, 7200);
	assert_int_equal(r.job.kind, PORTMAPPER_UNMAP);
	assert_int_equal(r.job.port, 41642);
	assert_true(ep_eq(&r.job.external, &EXT));
}

static void the_relay_has_a_mapping_of_its_own_or_shares_the_main_one(void **state)
{
	const struct ep ext2 = { .ip = EXT.ip, .port = 50124 };
	struct rig r;
	struct ep ep;

	(void)state;
	hold(&r);
	ep = portmapper_external(&r.p, PORTMAPPER_RELAY);
	assert_true(ep_eq(&ep, &EXT)); /* no port of its own: it shares */
	portmapper_set_port(&r.p, r.now, PORTMAPPER_RELAY, 40000);
	drain(&r);
	ep = portmapper_external(&r.p, PORTMAPPER_RELAY);
	assert_false(ep_is_set(&ep));
	assert_int_equal(r.job.port, 40000);
	answer_map(&r, &ext2, 7200);
	ep = portmapper_external(&r.p, PORTMAPPER_RELAY);
	assert_true(ep_eq(&ep, &ext2));
}

static void switched_off_it_releases_and_is_silent(void **state)
{
	struct rig r;

	(void)state;
	hold(&r);
	portmapper_stop(&r.p, r.now);
	drain(&r);
	assert_int_equal(r.job.kind, PORTMAPPER_UNMAP);
	done(&r, (struct portmapper_result){ .err = 0 });
	r.n_jobs = 0;
	portmapper_want(&r.p, r.now, true);
	pass(&r, 10000);
	assert_int_equal(r.n_jobs, 0);
	assert_true(mono_is_never(portmapper_deadline(&r.p)));
}

static void a_gateway_without_services_is_left_alone_for_ten_minutes(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, PORTMAPPER_ALL);
	answer_probe(&r, 0, 0);
	answer_upnp(&r, false);
	r.n_jobs = 0;
	for (int i = 0; i < 119; i++) {
		pass(&r, 5);
		portmapper_want(&r.p, r.now, false);
		drain(&r);
	}
	assert_int_equal(r.n_jobs, 0);
	pass(&r, 5);
	portmapper_want(&r.p, r.now, false);
	drain(&r);
	assert_int_equal(r.n_jobs, 1);
	assert_int_equal(r.job.methods, QUICK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pcp_requests_are_those_of_the_vectors),
		cmocka_unit_test(pcp_answers_are_read_and_short_ones_refused),
		cmocka_unit_test(the_best_service_maps_and_is_renewed_at_half_life),
		cmocka_unit_test(a_mapping_is_served_until_it_expires_while_renewal_fails),
		cmocka_unit_test(without_an_answer_the_next_method_is_tried_after_a_refusal_none),
		cmocka_unit_test(a_port_that_is_taken_is_tried_elsewhere_twice),
		cmocka_unit_test(addresses_that_nobody_could_reach_are_refused),
		cmocka_unit_test(a_younger_epoch_means_the_mapping_is_lost),
		cmocka_unit_test(another_gateway_releases_and_forgets),
		cmocka_unit_test(another_port_releases_the_old_one),
		cmocka_unit_test(the_relay_has_a_mapping_of_its_own_or_shares_the_main_one),
		cmocka_unit_test(switched_off_it_releases_and_is_silent),
		cmocka_unit_test(a_gateway_without_services_is_left_alone_for_ten_minutes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

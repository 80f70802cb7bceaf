/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between the files of the simulated world's guest. All under the lane's lock but for the last. */
#ifndef OPENLIS_TESTS_SIM_GUEST_H
#define OPENLIS_TESTS_SIM_GUEST_H

#include "tests/loopback/sim.h"

/* What storvsc asks for. */
void sim_lane_events(struct sim_lane *lane, uint32_t events);
/* These ended: they are their owners' to look at. */
void sim_lane_ended(struct sim_lane *lane, struct storvsc_request *list);
/* Late ones of this lane whose memory the host has let go of. */
void sim_lane_release_late(struct sim_lane *lane);
void sim_model_init(struct sim_disk *disk, uint32_t vp);

#endif

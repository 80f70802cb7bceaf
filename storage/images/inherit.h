/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reads what shows through a differencing image from its parent. */
#ifndef OPENLIS_STORAGE_IMAGES_INHERIT_H
#define OPENLIS_STORAGE_IMAGES_INHERIT_H

#include "storage/images/transfer.h"

/**
 * inherit_read() - Read the next @bytes of a READ from the parent of its image.
 * @bytes: more than 0; not more than is left
 * @finished: as for transfer_data(), possibly called before this returns. Not called where @bytes is all of the
 *            request: then the parent has the request itself, and ends it.
 *
 * Context: request->loop's thread.
 */
void inherit_read(struct block_request *request, uint64_t bytes, transfer_finished *finished);

#endif

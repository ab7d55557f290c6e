/**
 * What nodes and operators ask of a control process, in MessagePack (msgpack.ts), as the bodies of `admin` frames of the
 * native protocol (native.ts); and what they are answered.
 *
 *     register   a node, once a start       registered, or refused with the reason
 *     beat       a node, about once a second, and when something changed       beat
 *     map        whoever holds an older one       map
 *     http       one call of the HTTP surface (controlplane/service_http.ts), by another way       http
 *
 * A control process that does not lead answers all of them with `elsewhere`: who leads as far as it knows, or null,
 * which is also what one says that does not know what became of a request. The asker tries again.
 *
 * Size: a request has one frame of a client, a little less than 1 MiB. That is a heartbeat of thousands of replicas.
 */
import { MiB } from "../base/units.ts";
import { clusterMap } from "./cluster_map.ts";
import { address, fence, heartbeat, heartbeatReply, registration } from "./control_plane.ts";
import { bytes, choice, hex, integer, nullable, text, type ValueOf } from "./msgpack.ts";
import { oneOf } from "./shapes.ts";

/** A path and its query. */
const PATH_BYTES_MAX = 2048;
/** A plan that names 1024 shards and 15 nodes for each in long words fits, and leaves room in the frame. */
const REQUEST_BODY_BYTES_MAX = (3 * MiB) / 4;
/** The status of 1024 remembered moves and 4096 planned ones is a few of these; a frame takes 64 MiB. */
export const HTTP_REPLY_BYTES_MAX = 16 * MiB;
const REASON_BYTES_MAX = 4096;

export const controlRequest = oneOf({
  /** `cluster`: which one the node's directory belongs to; null = none yet. */
  register: { cluster: nullable(hex(16)), registration },
  beat: { heartbeat },
  map: {},
  http: {
    method: choice("GET", "POST", "PUT", "DELETE", "HEAD"),
    path: text(PATH_BYTES_MAX),
    body: bytes(REQUEST_BODY_BYTES_MAX),
  },
});
export type ControlRequest = ValueOf<typeof controlRequest>;

export const controlReply = oneOf({
  registered: { cluster: hex(16), fence },
  /** It would be refused again: a person must look. The word it begins with says why (controlplane/transition.ts). */
  refused: { text: text(REASON_BYTES_MAX) },
  beat: { reply: heartbeatReply },
  map: { map: clusterMap },
  http: { status: integer(100, 599), type: text(256), body: bytes(HTTP_REPLY_BYTES_MAX) },
  elsewhere: { leader: nullable(address) },
});
export type ControlReply = ValueOf<typeof controlReply>;

/** The control plane. One tap file, because each costs most of a second; the cases are in the files it names. */
import "./admin_door.case.ts";
import "./backup.case.ts";
import "./counting.case.ts";
import "./golden.case.ts";
import "./liveness.case.ts";
import "./lost_shard.case.ts";
import "./map.case.ts";
import "./messages.case.ts";
import "./meta_store.case.ts";
import "./process.case.ts";
import "./reconciler.case.ts";
import "./requests.case.ts";
import "./second_restore.case.ts";
import "./service.case.ts";
import "./service_http.case.ts";
import "./service_random.case.ts";
import "./steps.case.ts";

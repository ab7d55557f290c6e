/** The control plane. One tap file, because each costs most of a second; the cases are in the files it names. */
import "./golden.case.ts";
import "./meta_store.case.ts";

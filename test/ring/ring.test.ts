/** The ring. One tap file, because each costs most of a second; the cases are in the files it names. */
import "./slot.case.ts";

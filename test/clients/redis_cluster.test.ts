import { redisSuite } from "./redis_suite.ts";

redisSuite("cluster");

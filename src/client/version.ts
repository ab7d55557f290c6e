/** The version of this package, as its hello says it. A test keeps it equal to package.json's. */
export const CLIENT_VERSION = "0.1.0";

/** A growing list of refs, reused from one command to the next. */
export class RefList {
  refs = new Int32Array(64);
  length = 0;

  push(ref: number): void {
    if (this.length === this.refs.length) {
      const grown = new Int32Array(2 * this.length);
      grown.set(this.refs);
      this.refs = grown;
    }
    this.refs[this.length++] = ref;
  }

  at(i: number): number {
    return this.refs[i] as number;
  }

  clear(): void {
    this.length = 0;
  }
}

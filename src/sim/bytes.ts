/** A growing byte image: reads past its end give nothing, holes are zeros. */
export class Image {
  #bytes: Uint8Array;
  size = 0;

  constructor(content: Uint8Array = new Uint8Array(0)) {
    this.#bytes = content.slice();
    this.size = content.length;
  }

  write(position: number, source: Uint8Array): void {
    this.extend(position + source.length);
    this.#bytes.set(source, position);
  }

  /** Makes the image at least `size` long; what is new is zeros. */
  extend(size: number): void {
    if (size > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(size, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, this.size));
      this.#bytes = grown;
    }
    if (size > this.size) this.size = size;
  }

  /** Copies what there is of [position, position + target.length); returns how much. */
  read(position: number, target: Uint8Array): number {
    const end = Math.min(this.size, position + target.length);
    if (end <= position) return 0;
    target.set(this.#bytes.subarray(position, end));
    return end - position;
  }

  /** A borrowed view: valid until the next change. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.size);
  }

  replace(content: Uint8Array): void {
    if (this.#bytes.length < content.length) this.#bytes = new Uint8Array(content.length);
    else this.#bytes.fill(0, content.length);
    this.#bytes.set(content);
    this.size = content.length;
  }
}

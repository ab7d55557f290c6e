/**
 * A JSON object from elsewhere, each field taken as the type it must have. What does not fit ends in `fail`, which gets
 * the field's name and throws.
 */
export class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #where: string;
  readonly #fail: (why: string) => never;

  constructor(value: unknown, fail: (why: string) => never, where = "") {
    if (!isObject(value)) fail(`${where || "it"} is not an object`);
    this.#values = value;
    this.#where = where === "" ? "" : `${where}.`;
    this.#fail = fail;
  }

  /** As it came, for `--json`. */
  get raw(): Readonly<Record<string, unknown>> {
    return this.#values;
  }

  has(key: string): boolean {
    return this.#values[key] !== undefined;
  }

  text(key: string): string {
    return this.textOrNull(key) ?? this.#wrong(key, "a text");
  }

  textOrNull(key: string): string | null {
    const value = this.#values[key];
    return value === null || typeof value === "string" ? value : this.#wrong(key, "a text");
  }

  number(key: string): number {
    return this.numberOrNull(key) ?? this.#wrong(key, "a number");
  }

  numberOrNull(key: string): number | null {
    const value = this.#values[key];
    return value === null || typeof value === "number" ? value : this.#wrong(key, "a number");
  }

  flag(key: string): boolean {
    const value = this.#values[key];
    return typeof value === "boolean" ? value : this.#wrong(key, "true or false");
  }

  list(key: string): readonly Fields[] {
    return this.#items(key).map((item, i) => new Fields(item, this.#fail, `${this.#where}${key}[${i}]`));
  }

  texts(key: string): readonly string[] {
    return this.#items(key).map((item, i) =>
      typeof item === "string" ? item : this.#wrong(`${key}[${i}]`, "a text"),
    );
  }

  child(key: string): Fields {
    return this.childOrNull(key) ?? this.#wrong(key, "an object");
  }

  childOrNull(key: string): Fields | null {
    const value = this.#values[key];
    return value === null || value === undefined
      ? null
      : new Fields(value, this.#fail, `${this.#where}${key}`);
  }

  #items(key: string): readonly unknown[] {
    const value = this.#values[key];
    return Array.isArray(value) ? value : this.#wrong(key, "a list");
  }

  #wrong(key: string, wanted: string): never {
    return this.#fail(`${this.#where}${key} is not ${wanted}`);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

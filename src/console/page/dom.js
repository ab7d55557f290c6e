/** Small changes to the page: nothing is built anew that can stay, so focus, scrolling and selections stay too. */

/** @param {string} id @returns {HTMLElement} */
export function byIdOf(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/** @param {string} id @returns {HTMLCanvasElement} */
export function canvasOf(id) {
  return /** @type {HTMLCanvasElement} */ (byIdOf(id));
}

/**
 * @param {string} tag @param {Record<string, string>} [attributes] @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** An empty text keeps its line's height.
 * @param {Element} at @param {string} text */
export function setText(at, text) {
  const shown = text === "" ? "\u00a0" : text;
  if (at.textContent !== shown) at.textContent = shown;
}

/** @param {Element} at @param {string} name @param {string} value */
export function setAttribute(at, name, value) {
  if (at.getAttribute(name) !== value) at.setAttribute(name, value);
}

/**
 * Makes the children of `parent` one for each item, in order; a child stays with its item's key.
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => HTMLElement} make
 * @param {(child: HTMLElement, item: T) => void} update
 */
export function keyed(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [child.getAttribute("data-key") ?? "", child]));
  /** @type {Element | null} */
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = known.get(key);
    known.delete(key);
    if (child === undefined) {
      child = make(item);
      child.setAttribute("data-key", key);
    }
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
    update(/** @type {HTMLElement} */ (child), item);
  }
  for (const child of known.values()) child.remove();
}

/** The cells of a row, by place.
 * @param {Element} row @param {number} place @returns {HTMLElement} */
export function cell(row, place) {
  return /** @type {HTMLElement} */ (row.children[place]);
}

/**
 * A canvas with as many pixels as the screen has in its place; null: it is not shown. What is drawn is in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 */
export function prepare(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  if (width < 1 || height < 1) return null;
  const ratio = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  const draw = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  draw.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw.clearRect(0, 0, width, height);
  return { draw, width, height, ratio };
}

/** A colour of the style sheet: "--ink".
 * @param {string} name */
export function styleColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

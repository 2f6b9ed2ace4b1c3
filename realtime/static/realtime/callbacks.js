/**
 * Return a function that gives `value`, or `value` itself if it is a function already.
 *
 * @param {any} value
 */
export function closure(value) {
  return typeof value === "function" ? value : () => value;
}

/**
 * Call `callback`; if it throws, report that and go on, so that one listener cannot silence the others.
 *
 * @param {Function} callback
 * @param {...any} args
 */
export function isolate(callback, ...args) {
  try {
    callback(...args);
  } catch (error) {
    report(error);
  }
}

/**
 * Show an error to whoever watches the page (`window.onerror`, the console) without throwing it here.
 *
 * @param {any} error
 */
export function report(error) {
  if (typeof globalThis.reportError === "function") {
    globalThis.reportError(error);
  } else {
    console.error(error);
  }
}

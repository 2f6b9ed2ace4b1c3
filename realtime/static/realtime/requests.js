import {isOfApplication} from "./close_reason.js";

/** The HTTP requests of one long-polling connection. */
export class Requests {
  /**
   * @param {string} url
   */
  constructor(url) {
    this._url = url;
    this._running = new Set();
  }

  /**
   * Ask the server. The status that counts stands in the body of the answer, whatever that of HTTP is; it is
   * "timeout" if there was no answer in time, and 0 if there was none that could be read. Beside it is the code of
   * the close where the server has closed the session.
   *
   * @param {object} options  method, headers and body, as `fetch` takes them
   * @param {number} timeoutMs
   * @returns {Promise<{status: number | "timeout", token?: ?string, messages?: string[], code?: number, error?: Error}>}
   */
  async ask(options, timeoutMs) {
    const controller = new AbortController();
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      controller.abort();
    }, timeoutMs);
    this._running.add(controller);
    try {
      const response = await fetch(this._url, {...options, cache: "no-store", signal: controller.signal});
      return answerOf(await response.json());
    } catch (error) {
      return late ? {status: "timeout"} : {status: 0, error};
    } finally {
      clearTimeout(timer);
      this._running.delete(controller);
    }
  }

  /** End all that are running; their answers have the status 0. */
  abort() {
    this._running.forEach(controller => controller.abort());
  }
}

// private

/** A proxy may answer with any JSON: what is not made as an answer counts as none. */
function answerOf(body) {
  const {status, token, messages, code} = body ?? {};
  const isOurs = typeof status === "number" && isText(token ?? "") && areTexts(messages ?? [])
    && (code === undefined || isOfApplication(code));
  if (!isOurs) throw new TypeError("this is no answer of a long poll");
  return body;
}

function areTexts(values) {
  return Array.isArray(values) && values.every(isText);
}

function isText(value) {
  return typeof value === "string";
}

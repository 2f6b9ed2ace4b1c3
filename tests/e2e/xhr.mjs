/** As much of a browser's XMLHttpRequest as phoenix.js uses, for Node has none. */
export class XMLHttpRequest {
  constructor() {
    this._abort = new AbortController();
    this._headers = {};
    this.readyState = 0;
    this.responseText = "";
  }

  open(method, url) {
    this._method = method;
    this._url = url;
  }

  setRequestHeader(name, value) {
    this._headers[name] = value;
  }

  send(body) {
    const {_method: method, _headers: headers, _abort: {signal}} = this;
    fetch(this._url, {method, headers, body, signal})
      .then(response => response.text())
      .then(text => { this.responseText = text; }, () => {}) // one that fails is complete, with no text
      .then(() => {
        this.readyState = 4;
        if (!signal.aborted) this.onreadystatechange();
      });
  }

  abort() {
    this._abort.abort();
  }
}

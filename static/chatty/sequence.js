/** What has a number, in the order of the numbers, each once. */
export class Sequence {
  constructor() {
    this._ids = [];
    this._items = new Map();
  }

  has(id) {
    return this._items.has(id);
  }

  /** Return the item with this number. */
  get(id) {
    return this._items.get(id);
  }

  /** Return the item with the next greater number, if there is one. */
  next(id) {
    return this._items.get(this._ids[this._place(id)]);
  }

  add(id, item) {
    this._ids.splice(this._place(id), 0, id);
    this._items.set(id, item);
  }

  /** Forget what is first, if this is it. */
  dropFirst(item) {
    const [first] = this._ids;
    if (first === undefined || this._items.get(first) !== item) return;
    this._items.delete(first);
    this._ids.shift();
  }

  // private

  _place(id) {
    let place = this._ids.length; // nearly always it is the newest
    while (place > 0 && this._ids[place - 1] > id) place--;
    return place;
  }
}

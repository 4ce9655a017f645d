// The store in MySQL or MariaDB. Statements have placeholders; no value is ever part of their text.

import mysql from 'mysql2/promise';

// Applied in order, each once. One that was released is never changed: a change is another one at the end.
const migrations = [
  `CREATE TABLE products (
     id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
     name VARCHAR(200) NOT NULL,
     price INT UNSIGNED NOT NULL
   ) CHARACTER SET utf8mb4`,
  `CREATE TABLE employees (
     id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
     name VARCHAR(200) NOT NULL,
     email VARCHAR(200) NOT NULL UNIQUE,
     role ENUM('employee', 'manager') NOT NULL,
     balance INT UNSIGNED NOT NULL,
     password VARCHAR(200) NOT NULL
   ) CHARACTER SET utf8mb4`,
  `CREATE TABLE purchases (
     id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
     employee INT UNSIGNED NOT NULL,
     items JSON NOT NULL,
     total INT UNSIGNED NOT NULL,
     at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
     FOREIGN KEY (employee) REFERENCES employees (id)
   ) CHARACTER SET utf8mb4`,
];

export class Database {
  #pool;

  // url: mysql://user:password@host:port/database
  constructor(url) {
    this.#pool = mysql.createPool({ uri: url.replace(/^mariadb:/, 'mysql:'), connectionLimit: 10 });
  }

  // Several instances may start at once: the lock lets one of them change the schema.
  async migrate() {
    const connection = await this.#pool.getConnection();
    try {
      await connection.query("SELECT GET_LOCK(CONCAT(DATABASE(), '.schema'), 30)");
      await connection.query('CREATE TABLE IF NOT EXISTS migrations (number INT UNSIGNED PRIMARY KEY)');
      const [[{ applied }]] = await connection.query('SELECT COUNT(*) AS applied FROM migrations');
      for (let number = applied; number < migrations.length; number += 1) {
        await connection.query(migrations[number]);
        await connection.execute('INSERT INTO migrations (number) VALUES (?)', [number]);
      }
    } finally {
      // the lock belongs to the connection
      connection.destroy();
    }
  }

  async ready() {
    await this.#pool.query('SELECT 1');
  }

  async close() {
    await this.#pool.end();
  }

  async products() {
    return this.#rows('SELECT id, name, price FROM products ORDER BY id');
  }

  async product(id) {
    return this.#row('SELECT id, name, price FROM products WHERE id = ?', [id]);
  }

  async addProduct({ name, price }) {
    return { id: await this.#insert('INSERT INTO products (name, price) VALUES (?, ?)', [name, price]), name, price };
  }

  async employees() {
    return this.#rows('SELECT * FROM employees ORDER BY id');
  }

  async employee(id) {
    return this.#row('SELECT * FROM employees WHERE id = ?', [id]);
  }

  async employeeByEmail(email) {
    return this.#row('SELECT * FROM employees WHERE email = ?', [email]);
  }

  // Nothing, if the address has an account: the unique key decides, so two requests at once make one.
  async addEmployee(employee) {
    const { name, email, role, balance, password } = employee;
    const columns = [name, email, role, balance, password];
    try {
      return { id: await this.#insert('INSERT INTO employees (name, email, role, balance, password) VALUES (?, ?, ?, ?, ?)', columns), ...employee };
    } catch (error) {
      if (error.code === 'ER_DUP_ENTRY') return undefined;
      throw error;
    }
  }

  async purchases(employee) {
    const rows = await this.#rows('SELECT id, employee, items, total FROM purchases WHERE employee = ? ORDER BY id', [employee]);
    // MariaDB gives JSON as text, MySQL as values
    return rows.map((row) => ({ ...row, items: typeof row.items === 'string' ? JSON.parse(row.items) : row.items }));
  }

  // Nothing, if the balance is too low.
  async addPurchase(employee, items, total) {
    const connection = await this.#pool.getConnection();
    try {
      await connection.beginTransaction();
      // one statement checks and takes: two purchases at once can't both see the same money
      const [taken] = await connection.execute('UPDATE employees SET balance = balance - ? WHERE id = ? AND balance >= ?', [total, employee, total]);
      if (taken.affectedRows === 0 && total > 0) {
        await connection.rollback();
        return undefined;
      }
      const values = [employee, JSON.stringify(items), total];
      const [added] = await connection.execute('INSERT INTO purchases (employee, items, total) VALUES (?, ?, ?)', values);
      await connection.commit();
      return { id: added.insertId, employee, items, total };
    } catch (error) {
      await connection.rollback();
      throw error;
    } finally {
      connection.release();
    }
  }

  async #rows(statement, values = []) {
    return (await this.#pool.execute(statement, values))[0];
  }

  async #row(statement, values) {
    return (await this.#rows(statement, values))[0];
  }

  async #insert(statement, values) {
    return (await this.#pool.execute(statement, values))[0].insertId;
  }
}

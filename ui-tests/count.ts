/** The closing line that CI's reader looks for, and the time of each story. */

import type { Reporter, TestCase, TestResult } from '@playwright/test/reporter';

class Count implements Reporter {
  onTestEnd(test: TestCase, result: TestResult): void {
    if (result.status === 'skipped') {
      this.skipped++;
    } else if (test.outcome() === 'expected' || test.outcome() === 'flaky') {
      this.passed++;
      if (result.retry > 0) {
        this.flaky.push(test.title);
      }
      this.times.push([test.title, result.duration / 1000]);
    } else if (result.retry === test.retries) {
      this.failed++;
    }
  }

  onEnd(): void {
    console.log('\nstory times');
    for (const [title, seconds] of this.times) {
      console.log(`${seconds.toFixed(1).padStart(7)} s  ${title}`);
    }
    for (const title of this.flaky) {
      console.log(`   needed a second try:  ${title}`);
    }
    console.log(`\n${this.passed} passed, ${this.failed} failed, ${this.skipped} skipped`);
  }

  printsToStdio(): boolean {
    return false;
  }

  private passed = 0;
  private failed = 0;
  private skipped = 0;
  private readonly flaky: string[] = [];
  private readonly times: [string, number][] = [];
}

export default Count;

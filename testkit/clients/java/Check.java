import java.util.Objects;

/** Checks of the clients that run on the JVM: one line each, which scripts/clients counts. */
final class Check {
    private static int failed;

    private Check() {}

    /** A step that may throw what it likes. */
    interface Step {
        void run() throws Exception;
    }

    /** The check that two values are the same. */
    static void equal(String name, Object found, Object expected) {
        report(name, Objects.equals(found, expected), "found " + found + ", expected " + expected);
    }

    /** A check by its outcome. */
    static void report(String name, boolean holds, String otherwise) {
        if (holds) {
            System.out.println("ok " + name);
        } else {
            failed++;
            System.out.println("FAILED " + name + ": " + otherwise);
        }
    }

    /** Checks within; an exception is a failure of the whole, and the next step goes on. */
    static void step(String name, Step step) {
        try {
            step.run();
        } catch (Exception error) {
            error.printStackTrace();
            report(name, false, error.toString());
        }
    }

    /** Ends the program. */
    static void finish() {
        System.out.flush();
        System.exit(failed == 0 ? 0 : 1);
    }
}

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

    /**
     * A check whose right outcome the double is known not to give; docs/double.md says so. It fails
     * once the outcome is another one, the right one too: then this is to become a check like any
     * other.
     */
    static void known(String name, Object found, Object right, Object wrong) {
        if (Objects.equals(found, wrong)) {
            System.out.println("known " + name + ": found " + found + ", SQL Server has " + right);
        } else {
            report(name, false, "found " + found + ", which is no longer " + wrong + " (SQL Server has " + right + ")");
        }
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
